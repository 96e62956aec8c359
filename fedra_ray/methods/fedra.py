"""FedRA: every client trains a random subset of the layers that fits it. arXiv 2311.11227, ECCV 2024."""

from collections.abc import Callable

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation import allocation
from fedra_ray.federation.allocation import Matrix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method, Problem

DRAWS: dict[str, Callable[[list[int], int, np.random.Generator], Matrix]] = {
    "uniform": allocation.uniform,
    "covering": allocation.covering,
    "balanced": allocation.balanced,
    "prefix": lambda depths, num_layers, rng: allocation.prefix(depths, num_layers),
}


class FedRA(Method):
    """In every round each client trains a new draw of as many layers as it can hold.

    Args:
        problem: The model and the fleet.
        draw: How layers are drawn: `uniform` without replacement, as in the paper; `covering`, the same given that
            every layer gets a holder; `balanced`, so that the layers' numbers of holders differ by at most one; or
            `prefix`, the first layers, which leaves allocation as the only difference from the depth-wise methods.
    """

    def __init__(self, problem: Problem, draw: str = "uniform") -> None:
        super().__init__(problem)
        if draw not in DRAWS:
            raise SettingError("method.options.draw", draw, f"must be one of {', '.join(DRAWS)}")
        held = sum(problem.least_cohort)
        if draw == "covering" and 0 < held < self.num_layers:
            raise _too_shallow(
                f"the shallowest cohort holds {held} layers, fewer than the model's {self.num_layers}", draw
            )
        self.draw = draw

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        try:
            return DRAWS[self.draw](depths, self.num_layers, rng)
        except ValueError as error:
            raise _too_shallow(str(error), self.draw) from error

    def coverage(self, depths: list[int], matrix: Matrix) -> allocation.Coverage:
        if self.draw == "uniform":
            return allocation.Coverage(*allocation.expected_uncovered(depths, self.num_layers))
        if self.draw == "covering":
            return allocation.Coverage(0, 0)
        return super().coverage(depths, matrix)


def _too_shallow(reason: str, draw: str) -> SettingError:
    return SettingError("method.options.draw", draw, f"{reason}; add clients or depth, or set it to uniform")
