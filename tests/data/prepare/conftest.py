from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem

from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.dataset import Dataset, open_dataset
from fedra_ray.data.prepare.progress import begin, finish, plan
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.prepare.writing import write_shard


@pytest.fixture
def config(world: Path, tmp_path: Path) -> PrepareConfig:
    """The miniature data set, in shards of ten images and row groups of four."""
    dataset = DatasetConfig(root=str(world / "shapes.parquet"))
    out = str(tmp_path / "shards")
    return PrepareConfig(dataset, out, image_size=16, format="png", shard_images=10, group_images=4)


@pytest.fixture
def dataset(config: PrepareConfig) -> Dataset:
    return open_dataset(config.dataset, config.image_size)


@pytest.fixture
def prepare() -> Callable[[PrepareConfig, Dataset], dict[str, Any]]:
    """prepare(config, dataset): writes all shards, and gives the manifest."""

    def write_all(config: PrepareConfig, dataset: Dataset) -> dict[str, Any]:
        system = LocalFileSystem()
        shards = plan(config, dataset)
        begin(config, shards, system, config.out)
        for shard in shards:
            write_shard(config, dataset, shard, system, config.out)
        return finish(config, dataset, shards, system, config.out)

    return write_all
