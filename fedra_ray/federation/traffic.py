"""What travels between the server and a client in a round."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedra_ray.federation.layout import Entry, Layout

VALUE_BYTES = 4  # of a trained value; what travels and what the optimiser keeps are float32


class Traffic(NamedTuple):
    """Bytes of trained values that a client sends and receives in a round."""

    up: int
    down: int


NO_TRAFFIC = Traffic(0, 0)


def count_values(
    layout: Layout, layers: Sequence[int], names: Sequence[str], ranks: Mapping[int, int], factors: str
) -> int:
    """Number of values of some layers' LoRA factors and of some further segments.

    Args:
        layout: How the adapter lies in its flat vector.
        layers: The layers.
        names: Heads and extras.
        ranks: The ranks of some of the layers; the others have all.
        factors: Which factors count: A, B or AB.
    """
    own = sum(
        _ranked(entry, ranks.get(layer))
        for layer in layers
        for entry in layout.layers[layer]
        if entry.name[-1] in factors
    )
    return own + layout.packed_size(layout.held((), names))


def _ranked(entry: Entry, rank: int | None) -> int:
    """Number of values of a factor, lora_A (rank, ...) or lora_B (outputs, rank), at fewer ranks."""
    whole = entry.shape[0] if entry.name.endswith("lora_A") else entry.shape[1]
    return entry.size if rank is None else entry.size * min(rank, whole) // whole
