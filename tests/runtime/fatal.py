"""A data set that takes its process with it, once."""

import os
import signal
from pathlib import Path

import numpy as np

from fedra_ray.data.parquet import ParquetDataset


class Fatal(ParquetDataset):
    """Kills the process that is the first to read test images, which leaves a marker."""

    def __init__(self, root: str, image_size: int, marker: str) -> None:
        super().__init__(root, image_size)
        self._marker = Path(marker)

    def images(self, domain: str, split: str, positions: np.ndarray) -> np.ndarray:
        if split == "test" and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().images(domain, split, positions)
