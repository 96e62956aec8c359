"""A user's own method, in which a client of one depth meets a fault: always, or the first time alone."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import Batch, SubModel


def fail() -> None:
    """Raise what nobody expects."""
    raise ValueError("this client never works")


def eat() -> None:
    """Take memory until Ray's monitor kills this process."""
    eaten = []
    while True:
        eaten.append(np.ones(1 << 24))  # 128 MB that are touched
        time.sleep(0.05)


FAULTS: dict[str, Callable[[], object]] = {
    "raise": fail,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(3600),
    "memory": lambda: np.empty(1 << 55),
    "eat": eat,
    "none": lambda: None,
}


class Faulty(FedRA):
    """FedRA with fault `how` where a client trains so many `layers`.

    If a path `marker` is given, only until a file is there, which the first fault leaves.
    """

    def __init__(self, problem: Problem, how: str, layers: int = 2, marker: str | None = None) -> None:
        super().__init__(problem)
        self.how, self.layers, self.marker = how, layers, marker

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        """The method's own loss, if it comes to that."""
        if len(local.task.layers) == self.layers and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            FAULTS[self.how]()
        return super().loss(model, batch, local)
