"""A client's round, as its method sees it."""

from dataclasses import dataclass, field
from typing import Any

from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.state import Array, Arrays, Vector


@dataclass
class LocalRound:
    """What a client knows in one round.

    Attributes:
        task: What it was asked to do.
        layout: How the trained values lie in a flat vector.
        start: The global adapter that it begins with, the full flat vector; read-only.
        received: What the server sent besides the adapter (`Method.broadcast`); read-only.
        kept: What this client keeps from one of its rounds to the next; empty before its first one. A method puts new
            arrays in, and does not change the old ones in place.
        scratch: Room for what a method needs during this round only.
        steps: Local steps taken so far.
        planned: Local steps that it will have taken at the end, unless images cannot be read.
    """

    task: ClientTask
    layout: Layout
    start: Vector
    received: Arrays = field(default_factory=dict)
    kept: dict[str, Array] = field(default_factory=dict)
    scratch: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    planned: int = 0

    @property
    def trained(self) -> list[int]:
        """Indices of the segments that it trains, ascending, in the order of `SubModel.held`."""
        return self.layout.held(self.task.layers, self.task.named)

    @property
    def sent(self) -> list[int]:
        """Indices of the segments that it sends back, ascending."""
        return self.layout.held(self.task.layers, self.task.sent)
