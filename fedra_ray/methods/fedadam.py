"""FedAdam: an adaptive step on the server. Reddi et al., ICLR 2021, arXiv 2003.00295, algorithm 2."""

import numpy as np

from fedra_ray.federation.layout import Layout
from fedra_ray.federation.state import ServerState, Vector
from fedra_ray.methods.method import Method
from fedra_ray.methods.server_optimizer import ServerOptimizer, check

FIRST, SECOND = "fedadam.first", "fedadam.second"


class FedAdam(ServerOptimizer):
    """m = beta1 m + (1 - beta1) Delta; v = beta2 v + (1 - beta2) Delta^2; x = x + lr m / (sqrt(v) + tau).

    m begins at 0 and v at tau^2; there is no bias correction, as in the paper.

    Args:
        inner: The wrapped method.
        lr: Server learning rate eta: about how far a value moves in a round once its change is above tau.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        tau: Degree of adaptivity, greater than 0: changes far below it are scaled by lr / tau instead.
    """

    moments = (FIRST, SECOND)

    def __init__(
        self, inner: Method, lr: float = 0.01, beta1: float = 0.9, beta2: float = 0.99, tau: float = 1e-3
    ) -> None:
        super().__init__(inner, lr)
        for option, beta in (("beta1", beta1), ("beta2", beta2)):
            check(option, beta, 0 <= beta < 1, "at least 0 and below 1")
        check("tau", tau, tau > 0)
        self.beta1 = np.float32(beta1)
        self.beta2 = np.float32(beta2)
        self.tau = np.float32(tau)

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        state = self.inner.init_state(layout, seed)
        moments = {FIRST: np.zeros_like(state.values), SECOND: np.full_like(state.values, self.tau**2)}
        return state.keeping(**moments)

    def step(self, change: Vector, moments: dict[str, Vector]) -> Vector:
        first, second = moments[FIRST], moments[SECOND]
        first *= self.beta1
        first += (1 - self.beta1) * change
        second[:] = self.second_moment(second, change * change)
        return np.asarray(self.lr * first / (np.sqrt(second) + self.tau), dtype=np.float32)

    def second_moment(self, second: Vector, square: Vector) -> Vector:
        """The next second moment from the last one and the squared change."""
        return np.asarray(self.beta2 * second + (1 - self.beta2) * square, dtype=np.float32)
