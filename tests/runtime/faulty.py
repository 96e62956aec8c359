"""A user's own method, in which a client that trains two layers meets a fault: always, or the first time alone."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from fedra_ray.methods.fedra import FedRA
from fedra_ray.submodel import SubModel


def fail() -> None:
    raise ValueError("this client never works")


FAULTS: dict[str, Callable[[], object]] = {
    "raise": fail,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(3600),
    "memory": lambda: np.empty(1 << 55),
}


class Faulty(FedRA):
    """Fault `how`; if a path `marker` is given, only until a file is there, which the first fault leaves."""

    def __init__(self, num_layers: int, depths: list[int], how: str, marker: str | None = None) -> None:
        super().__init__(num_layers, depths)
        self.how, self.marker = how, marker

    def loss(self, model: SubModel, images: Tensor, labels: Tensor, layers: Sequence[int], progress: float) -> Tensor:
        if len(layers) == 2 and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            FAULTS[self.how]()
        return super().loss(model, images, labels, layers, progress)
