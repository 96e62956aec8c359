"""How the trained values of an adapted model lie in one flat buffer, and their initial values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.federation.state import Vector


@dataclass(frozen=True)
class Entry:
    """One tensor of the adapter: its parameter name in the adapted model and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def changed_weights(layer: int) -> str:
    """The name of the extra that has the changes of a layer's adapted weights (`Method.changes_weights`)."""
    return f"weights_{layer}"


@dataclass(frozen=True)
class Layout:
    """Where everything lies in the flat float32 vector: the layers' LoRA factors in order, the heads, the extras.

    A *segment* is what a client trains or does not train as a whole: one layer's LoRA factors, a head, or an extra.

    Attributes:
        layers: The tensors of each layer, lora_A (rank, inputs) and lora_B (outputs, rank) of each target.
        heads: The tensors of each head, weight (classes, features) and bias (classes,); none of one that is frozen.
        head_names: Names of the heads; `head` for most methods.
        extras: The tensors of each further segment that a method trains, of any shape.
        extra_names: Names of the extras.
        random_heads: Whether heads are random at first, and not zero.
    """

    layers: tuple[tuple[Entry, ...], ...]
    heads: tuple[tuple[Entry, ...], ...]
    head_names: tuple[str, ...]
    extras: tuple[tuple[Entry, ...], ...] = ()
    extra_names: tuple[str, ...] = ()
    random_heads: bool = False

    @cached_property
    def entries(self) -> tuple[tuple[Entry, ...], ...]:
        """The tensors of every segment."""
        return self.layers + self.heads + self.extras

    @cached_property
    def segments(self) -> list[slice]:
        """The range of every segment in the flat vector."""
        stops = np.cumsum([sum(entry.size for entry in segment) for segment in self.entries]).tolist()
        return [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]

    @property
    def size(self) -> int:
        """Number of values of the whole vector."""
        return int(self.segments[-1].stop)

    def is_head(self, segment: int) -> bool:
        """Whether the segment of this index is a head."""
        return 0 <= segment - len(self.layers) < len(self.heads)

    def held(self, layers: Sequence[int], names: Sequence[str]) -> list[int]:
        """Indices, ascending, of the segments of these layers and of the heads and extras of these names."""
        known = self.head_names + self.extra_names
        return [*sorted(layers), *sorted(len(self.layers) + known.index(name) for name in names)]

    def pack(self, values: Vector, held: Sequence[int]) -> Vector:
        """The held segments of a full vector, one after another in one contiguous buffer."""
        return np.concatenate([values[self.segments[index]] for index in held])

    def unpack(self, packed: Vector, held: Sequence[int], values: Vector) -> Vector:
        """A copy of a full vector in which the held segments are those of a packed buffer."""
        result = values.copy()
        start = 0
        for index in held:
            segment = self.segments[index]
            stop = start + segment.stop - segment.start
            result[segment] = packed[start:stop]
            start = stop
        return result

    def part(self, packed: Vector, held: Sequence[int], segment: int) -> Vector:
        """One of the held segments of a packed buffer."""
        start = self.packed_size([index for index in held if index < segment])
        return packed[start : start + self.packed_size([segment])]

    def factors(self, layer: int) -> list[tuple[slice, slice]]:
        """The ranges of A and B of every target of a layer in the flat vector."""
        entries = self.layers[layer]
        stops = (self.segments[layer].start + np.cumsum([entry.size for entry in entries])).tolist()
        ranges = [slice(stop - entry.size, stop) for stop, entry in zip(stops, entries, strict=True)]
        return list(zip(ranges[::2], ranges[1::2], strict=True))

    def packed_size(self, held: Sequence[int]) -> int:
        """Number of values of the held segments."""
        return sum(self.segments[index].stop - self.segments[index].start for index in held)

    def initial(self, seed: int) -> Vector:
        """Initial values (size,): lora_A uniform in +-1/sqrt(inputs), as in PEFT; random heads alike; the rest zero."""
        rng = generator(seed, Purpose.ADAPTER)
        values = self._first_factors(rng)
        for number, (name, head) in enumerate(zip(self.head_names, self.heads, strict=True), start=1):
            if self.random_heads:
                (segment,) = (self.segments[index] for index in self.held((), (name,)))
                bound = 1 / math.sqrt(head[0].shape[1])
                drawn = generator(seed, Purpose.ADAPTER, number).uniform(-bound, bound, segment.stop - segment.start)
                values[segment] = drawn.astype(np.float32)
        return values

    def _first_factors(self, rng: np.random.Generator) -> Vector:
        parts = []
        for entry in (entry for segment in self.entries for entry in segment):
            if entry.name.endswith("lora_A"):
                bound = 1 / math.sqrt(math.prod(entry.shape[1:]))
                parts.append(rng.uniform(-bound, bound, size=entry.size))
            else:
                parts.append(np.zeros(entry.size))
        return np.concatenate(parts).astype(np.float32)

    def tensors(self, values: Vector) -> dict[str, Vector]:
        """The tensors of a full vector by name, as views of it in their own shapes."""
        flat = [entry for segment in self.entries for entry in segment]
        stops = np.cumsum([entry.size for entry in flat]).tolist()
        return {
            entry.name: values[stop - entry.size : stop].reshape(entry.shape)
            for entry, stop in zip(flat, stops, strict=True)
        }
