"""A method and a data set that cannot be made."""

from typing import Any

from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Problem


class FaultyMethod(FedRA):
    def __init__(self, problem: Problem, **options: Any) -> None:
        raise ZeroDivisionError("a fault of its own")


class FaultyDataset(ParquetDataset):
    def __init__(self, root: str, image_size: int, **options: Any) -> None:
        raise KeyError("a fault of its own")
