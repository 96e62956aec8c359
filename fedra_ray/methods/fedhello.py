"""Fed-HeLLo: layers drawn by a geometric shape, and every so often by Fisher information.

Zhang et al., IEEE TNNLS 2025, arXiv 2506.12213.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.allocation import Matrix, weighted
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.gradient_norms import ROUNDS, GradientNorms
from fedra_ray.methods.method import Problem

#: Weights of twelve layers; models of other depths take those of the nearest relative place.
SHAPES: dict[str, tuple[int, ...]] = {
    "bone": (3, 3, 3, 2, 2, 1, 1, 1, 2, 3, 3, 3),  # of 27, as in the authors' code
    "triangle": tuple(range(12, 0, -1)),  # in equal steps, as is the next: our reading of the name
    "inverted_triangle": tuple(range(1, 13)),
    "uniform": (1,) * 12,
}
LOW, MIDDLE, HIGH = 1, 2, 3  # weights of the three groups of layers by Fisher information


class FedHello(GradientNorms):
    """Layers are drawn without replacement, with weights by shape; every `every` rounds, by groups of their gradients.

    These groups are the best three clusters of the layers' squared gradient norms (least sum of squared distances), and
    their layers have the weights 1, 2 and 3. The paper computes the norms on data of the server; here they are the
    clients' own. Clients run the blocks that they do not train: `submodel=frozen`.

    Args:
        problem: The model and the fleet.
        shape: One of bone, triangle, inverted_triangle and uniform.
        every: Rounds from one draw by gradients to the next; 0 for none.
    """

    def __init__(self, problem: Problem, shape: str = "bone", every: int = 50) -> None:
        super().__init__(problem)
        if shape not in SHAPES:
            raise SettingError("method.options.shape", shape, f"must be one of {', '.join(SHAPES)}")
        if not every >= 0:
            raise SettingError("method.options.every", every, "must be at least 0")
        places = np.round(np.linspace(0, 11, problem.num_layers)).astype(int)
        self.shape: NDArray[np.float64] = np.array(SHAPES[shape], dtype=np.float64)[places]
        self.every = every

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return weighted(depths, self.weights(state), rng)

    def weights(self, state: ServerState | None) -> NDArray[np.float64]:
        """The weight of every layer (layers,) in the next draw."""
        squares = self.squares(state)
        rounds = 0 if state is None else int(state.arrays[ROUNDS])
        if not (self.every and rounds and rounds % self.every == 0 and np.isfinite(squares).all()):
            return self.shape
        return three_groups(squares)


def three_groups(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights 1, 2 and 3 of the best three clusters of values on a line, lowest first; all 1 for fewer than three."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def spread(cuts: tuple[int, int]) -> float:
        return float(sum(np.sum((part - part.mean()) ** 2) for part in np.split(ordered, cuts)))

    weights = np.full(len(values), float(LOW))
    if len(values) >= HIGH:
        first, second = min(combinations(range(1, len(values)), 2), key=spread)
        weights[order[first:second]] = MIDDLE
        weights[order[second:]] = HIGH
    return weights
