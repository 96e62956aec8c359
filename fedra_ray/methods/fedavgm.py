"""FedAvgM: federated averaging with server momentum. Hsu et al. 2019, arXiv 1909.06335."""

import numpy as np

from fedra_ray.federation.layout import Layout
from fedra_ray.federation.state import ServerState, Vector
from fedra_ray.methods.method import Method
from fedra_ray.methods.server_optimizer import ServerOptimizer, check

VELOCITY = "fedavgm.velocity"


class FedAvgM(ServerOptimizer):
    """v = momentum v + Delta_t; x = x + lr v (section 3.2). Without momentum and with lr 1 it is federated averaging.

    Args:
        inner: The wrapped method.
        lr: Server learning rate.
        momentum: Server momentum, in [0, 1).
    """

    moments = (VELOCITY,)

    def __init__(self, inner: Method, lr: float = 1.0, momentum: float = 0.9) -> None:
        super().__init__(inner, lr)
        check("momentum", momentum, 0 <= momentum < 1, "at least 0 and below 1")
        self.momentum = np.float32(momentum)

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        state = self.inner.init_state(layout, seed)
        return state.keeping(**{VELOCITY: np.zeros_like(state.values)})

    def step(self, change: Vector, moments: dict[str, Vector]) -> Vector:
        velocity = moments[VELOCITY]
        velocity *= self.momentum
        velocity += change
        return np.float32(self.lr) * velocity
