"""LEGEND: the last layers, at ranks that rise towards the output. Liu et al. 2024, arXiv 2412.20004."""

from collections.abc import Mapping, Sequence

from fedra_ray.config.errors import SettingError
from fedra_ray.methods.method import Problem
from fedra_ray.methods.suffix import Suffix


class Legend(Suffix):
    """A client of depth d trains the last d layers; layer l has rank first + (last - first) l / (L - 1), rounded.

    The paper gives LoRA depth and a rank distribution that grows from layer to layer by a common difference; which
    depth a client gets is the fleet's here. Its clients run the blocks before their layers frozen: `submodel=frozen`.

    Args:
        problem: The model and the fleet.
        first: Rank of the first layer.
        last: Rank of the last layer; `lora.rank` must be at least that.
    """

    def __init__(self, problem: Problem, first: int = 2, last: int = 8) -> None:
        super().__init__(problem)
        if not 1 <= first <= last:
            raise SettingError("method.options.first", first, f"must be from 1 to method.options.last, which is {last}")
        steps = max(1, self.num_layers - 1)
        self._by_layer = [round(first + (last - first) * layer / steps) for layer in range(self.num_layers)]

    def ranks(self, layers: Sequence[int]) -> Mapping[int, int]:
        return {layer: self._by_layer[layer] for layer in layers}
