"""A user's own method, whose client of depth 2 raises, or kills its own process the first time it trains."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from fedra_ray.methods.fedra import FedRA
from fedra_ray.submodel import SubModel


class Faulty(FedRA):
    def __init__(self, num_layers: int, depths: list[int], how: str, marker: str) -> None:
        super().__init__(num_layers, depths)
        self.how, self.marker = how, Path(marker)

    def loss(self, model: SubModel, images: Tensor, labels: Tensor, layers: Sequence[int], progress: float) -> Tensor:
        if len(layers) == 2 and self.how == "raise":
            raise ValueError("this client never works")
        if len(layers) == 2 and self.how == "kill" and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, images, labels, layers, progress)
