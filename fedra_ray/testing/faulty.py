"""A method in which clients of one depth meet a fault: on every attempt, or only the first time."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from fedra_ray.config.errors import SettingError
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import Batch, SubModel


def fail() -> None:
    """Raise an error that nothing expects."""
    raise ValueError("this client never works")


def exhaust_memory() -> None:
    """Take memory, 128 MiB at a time, until Ray's memory monitor kills this process."""
    taken = []
    while True:
        taken.append(np.ones(1 << 24))  # ones, because memory that nothing touches is not taken
        time.sleep(0.05)


#: What a client can meet in training, by name.
FAULTS: dict[str, Callable[[], object]] = {
    "raise": fail,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(3600),
    "memory": lambda: np.empty(1 << 55),
    "eat": exhaust_memory,
    "none": lambda: None,
}


class Faulty(FedRA):
    """FedRA in which clients of one depth meet a fault when they compute a loss.

    Args:
        problem: The model and the fleet.
        how: Name of the fault, a key of `FAULTS`.
        depth: Clients that hold this many layers meet it.
        marker: File that the first fault creates, and that prevents any other; None for a fault on every attempt.
        draw: How FedRA draws layers.

    Raises:
        SettingError: if no fault has that name.
    """

    def __init__(
        self, problem: Problem, how: str, depth: int = 2, marker: str | None = None, draw: str = "uniform"
    ) -> None:
        super().__init__(problem, draw)
        if how not in FAULTS:
            raise SettingError("method.options.how", how, f"must be one of {', '.join(FAULTS)}")
        self._fault = FAULTS[how]
        self._depth = depth
        self._marker = Path(marker) if marker else None

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        """The loss of FedRA, unless the fault prevents it."""
        if len(local.task.layers) == self._depth and not (self._marker and self._marker.exists()):
            if self._marker:
                self._marker.touch()
            self._fault()
        return super().loss(model, batch, local)
