"""A data set with a domain for every client, of very unequal sizes, from preparation to the end of a run."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from in_process import InProcess, finish, table
from PIL import Image

from fedra_ray.config.schema import DatasetConfig, ExperimentConfig
from fedra_ray.data.dataset import Dataset, open_dataset
from fedra_ray.data.prepare.settings import PrepareConfig

CLIENTS = 40


def write_unequal(file: Path) -> list[int]:
    """Shuffled images of writers, the smallest with two of them; returns their numbers."""
    rng = np.random.default_rng(0)
    sizes = np.clip((rng.pareto(1.0, CLIENTS) * 3).astype(int) + 2, 2, 60)
    writer = rng.permutation(np.repeat(np.arange(CLIENTS), sizes))
    pictures = []
    for grey in range(0, 250, 25):
        buffer = io.BytesIO()
        Image.new("L", (8, 8), grey).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    label = np.arange(len(writer)) % 10
    image = [pictures[number] for number in label]
    columns = {"image": image, "label": label, "domain": [f"writer_{number:03}" for number in writer]}
    pq.write_table(pa.table(columns), file, row_group_size=50)
    return sizes.tolist()


def test_clients_of_very_unequal_size_train_from_prepared_shards(
    tmp_path: Path, prepare: Callable[[PrepareConfig, Dataset], dict[str, Any]]
) -> None:
    sizes = write_unequal(tmp_path / "writers.parquet")
    assert min(sizes) == 2
    assert max(sizes) >= 50
    raw = DatasetConfig(root=str(tmp_path / "writers.parquet"))
    prepare(PrepareConfig(raw, str(tmp_path / "shards"), 32, "png"), open_dataset(raw, 32))
    config = ExperimentConfig()
    config.dataset = DatasetConfig(root=str(tmp_path / "shards"))
    config.fleet.num_clients, config.fleet.clients_per_round = CLIENTS, None
    config.rounds, config.training.max_steps = 1, 1
    outcome = finish(InProcess(config), tmp_path / "run")
    assert len(outcome.scores) == CLIENTS
    assert sum(score.examples for score in outcome.scores) >= CLIENTS
    trained = table(tmp_path / "run", "clients")
    assert len({row["client"] for row in trained}) == CLIENTS
