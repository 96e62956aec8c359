"""Server optimisers step along the mean change of the clients. Reddi et al., ICLR 2021, arXiv 2003.00295."""

from abc import abstractmethod
from typing import Any

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.state import Array, ServerState, Vector
from fedra_ray.methods.method import Method
from fedra_ray.methods.wrapper import Wrapper


class ServerOptimizer(Wrapper):
    """FedOpt (algorithm 2): the wrapped method's next adapter gives the change Delta_t, and `step` how far to go.

    Only segments that some client of the round sent take a step; the others keep their values and their moments.

    Args:
        inner: The wrapped method.
        lr: Server learning rate eta.
    """

    def __init__(self, inner: Method, lr: float) -> None:
        super().__init__(inner)
        check("lr", lr, lr > 0)
        self.lr = lr

    @abstractmethod
    def step(self, change: Vector, moments: dict[str, Vector]) -> Vector:
        """What is added to the values of a segment, in its shape (values,).

        Args:
            change: Delta_t, the mean change of the clients in the segment.
            moments: The optimiser's own arrays for this segment, by name; changed in place.
        """

    def merge(self, state: ServerState, total: Any) -> ServerState:
        merged = self.inner.merge(state, total)
        sums: MaskedSums = total
        values = merged.values.copy()
        moments: dict[str, Array] = {name: state.arrays[name].copy() for name in self.moments}
        for segment in sums.covered():
            change = merged.values[segment] - state.values[segment]
            own = {name: array[segment] for name, array in moments.items()}
            values[segment] = state.values[segment] + self.step(change, own)
        return ServerState(values, merged.arrays).keeping(**moments)

    @property
    @abstractmethod
    def moments(self) -> tuple[str, ...]:
        """Names of the arrays that it keeps on the server."""


def check(option: str, value: float, allowed: bool, bounds: str = "greater than 0") -> None:
    """Refuse an option of a server optimiser.

    Raises:
        SettingError: unless the value is allowed.
    """
    if not allowed:
        raise SettingError(f"server_optimizer.options.{option}", value, f"must be {bounds}")
