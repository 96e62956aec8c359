"""A user's own data set, on a slow disk."""

import time

import numpy as np

from fedra_ray.data.parquet import ParquetDataset


class Slow(ParquetDataset):
    def images(self, domain: str, split: str, indices: np.ndarray) -> np.ndarray:
        time.sleep(0.05 * len(indices))
        return super().images(domain, split, indices)
