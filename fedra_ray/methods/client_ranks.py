"""LoRA ranks that differ by client: the setting `lora.ranks`."""

from collections.abc import Mapping, Sequence

from fedra_ray.methods.method import Method
from fedra_ray.methods.wrapper import Wrapper


class ClientRanks(Wrapper):
    """Clients of some depths train fewer ranks.

    The product counts alpha / `lora.rank` times at every rank, so that factors of different clients add up.

    Args:
        inner: The wrapped method.
        by_depth: The rank of clients by the number of blocks that they train; clients of other depths have all ranks.
    """

    def __init__(self, inner: Method, by_depth: Mapping[int, int]) -> None:
        super().__init__(inner)
        self._by_depth = dict(by_depth)

    def ranks(self, layers: Sequence[int]) -> Mapping[int, int]:
        inner = self.inner.ranks(layers)
        rank = self._by_depth.get(len(layers))
        return inner if rank is None else {layer: min(rank, inner.get(layer, rank)) for layer in layers}
