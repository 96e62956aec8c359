"""LoRA and head state: its layout in one flat buffer, its first values, and PEFT's on-disk format."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedra_ray.federation.seeding import Purpose, generator

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """One tensor of the adapter: its parameter name in the adapted model and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """Where everything lies in the flat float32 vector: the layers' LoRA factors in order, the heads, the stem's LoRA.

    Attributes:
        layers: The tensors of each layer, lora_A (rank, inputs) and lora_B (outputs, rank) of each target.
        heads: The tensors of each head, weight (classes, features) and bias (classes,).
        head_names: Names of the heads; `head` for most methods.
        patch_embedding: The tensors of the patch embedding's LoRA, lora_A (rank, channels, height, width) and lora_B
            (outputs, rank, 1, 1); empty unless `lora.patch_embedding` is on.
    """

    layers: tuple[tuple[Entry, ...], ...]
    heads: tuple[tuple[Entry, ...], ...]
    head_names: tuple[str, ...]
    patch_embedding: tuple[Entry, ...] = ()

    @property
    def stem_names(self) -> tuple[str, ...]:
        """Names of the segments after the heads: `patch_embedding` where that is adapted, else none."""
        return ("patch_embedding",) if self.patch_embedding else ()

    @cached_property
    def entries(self) -> tuple[tuple[Entry, ...], ...]:
        """The tensors of every segment."""
        return self.layers + self.heads + ((self.patch_embedding,) if self.patch_embedding else ())

    @cached_property
    def segments(self) -> list[slice]:
        """The range of every segment in the flat vector."""
        stops = np.cumsum([sum(entry.size for entry in segment) for segment in self.entries]).tolist()
        return [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]

    def is_head(self, segment: int) -> bool:
        """Whether the segment of this index is a head."""
        return 0 <= segment - len(self.layers) < len(self.heads)

    def held(self, layers: Sequence[int], names: Sequence[str]) -> list[int]:
        """Indices of the segments that a client holds, ascending: these layers, and the named heads and stem."""
        shared = self.head_names + self.stem_names
        return [*sorted(layers), *sorted(len(self.layers) + shared.index(name) for name in names)]

    def pack(self, values: Vector, held: Sequence[int]) -> Vector:
        """The held segments of a full vector, one after another in one contiguous buffer."""
        return np.concatenate([values[self.segments[index]] for index in held])

    def initial(self, seed: int) -> Vector:
        """First values: lora_A uniform in +-1/sqrt(inputs), as PEFT draws them; the rest zero."""
        rng = generator(seed, Purpose.ADAPTER)
        parts = []
        for entry in (entry for segment in self.entries for entry in segment):
            if entry.name.endswith("lora_A"):
                bound = 1 / math.sqrt(math.prod(entry.shape[1:]))
                parts.append(rng.uniform(-bound, bound, size=entry.size))
            else:
                parts.append(np.zeros(entry.size))
        return np.concatenate(parts).astype(np.float32)

    def tensors(self, values: Vector) -> dict[str, Vector]:
        """The full vector as named arrays."""
        flat = [entry for segment in self.entries for entry in segment]
        stops = np.cumsum([entry.size for entry in flat]).tolist()
        return {
            entry.name: values[stop - entry.size : stop].reshape(entry.shape)
            for entry, stop in zip(flat, stops, strict=True)
        }
