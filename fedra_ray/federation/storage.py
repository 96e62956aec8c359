"""What clients hold of the frozen model, and what they must download of it before they train."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class _Tensor(Protocol):
    @property
    def nbytes(self) -> int: ...


@dataclass(frozen=True)
class FrozenBytes:
    """Bytes of the frozen weights, in the precision of training.

    Attributes:
        stem: All that is outside the blocks: embeddings and the last norm.
        blocks: Each block.
    """

    stem: int
    blocks: tuple[int, ...]

    @property
    def whole(self) -> int:
        """The whole model."""
        return self.stem + sum(self.blocks)


def frozen_bytes(weights: Mapping[str, _Tensor], num_layers: int) -> FrozenBytes:
    """The sizes of a state dict without a classifier, of arrays or tensors, whose blocks are called `blocks.NUMBER`."""
    blocks, stem = [0] * num_layers, 0
    for name, tensor in weights.items():
        if name.startswith("blocks."):
            blocks[int(name.split(".")[1])] += tensor.nbytes
        else:
            stem += tensor.nbytes
    return FrozenBytes(stem, tuple(blocks))


@dataclass(frozen=True)
class Storage:
    """What every client holds of the frozen model since it last took part; nothing before its first round.

    A client takes part in a round if its update is averaged. Others neither hold more afterwards nor are counted, as
    with the values of the adapter.

    Attributes:
        sizes: Of the frozen weights.
        resident: Whether a client downloads and keeps the whole model, or only the blocks of its current sub-model.
        held: Packed bits (clients, ceil((1 + layers) / 8)), one for the stem and one for each block.
    """

    sizes: FrozenBytes
    resident: bool
    held: NDArray[np.uint8]

    @classmethod
    def empty(cls, sizes: FrozenBytes, storage: str, num_clients: int) -> "Storage":
        """Before the first round.

        Args:
            sizes: Of the frozen weights.
            storage: A value of `fleet.storage`.
            num_clients: Size of the fleet.
        """
        return cls(sizes, storage == "resident", np.zeros((num_clients, 1 + len(sizes.blocks) // 8), dtype=np.uint8))

    def missing(self, client: int, blocks: Collection[int]) -> int:
        """Bytes that a client must download before it runs these blocks."""
        stem, *known = np.unpackbits(self.held[client], count=1 + len(self.sizes.blocks)).tolist()
        wanted = range(len(known)) if self.resident else blocks
        return (not stem) * self.sizes.stem + sum(self.sizes.blocks[block] for block in wanted if not known[block])

    def after(self, blocks: Mapping[int, Collection[int]]) -> "Storage":
        """Once clients have taken part in a round, by client with the blocks that it ran."""
        held = self.held.copy()
        for client, run in blocks.items():
            bits = np.full(1 + len(self.sizes.blocks), self.resident)
            bits[[0, *(1 + block for block in run)]] = True
            held[client] = np.packbits(bits)
        return replace(self, held=held)
