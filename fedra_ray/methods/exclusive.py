"""Exclusive: federated averaging of the full model, by those clients alone that can hold it."""

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method, Problem


class Exclusive(Method):
    """Clients with fewer layers than the model never take part."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if max(self.depths) < self.num_layers:
            allowed = f"Exclusive needs a client that can hold all {self.num_layers} layers"
            raise SettingError("fleet.depths", list(self.depths), allowed)

    def eligible(self, depth: int) -> bool:
        return depth >= self.num_layers

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix(depths, self.num_layers)
