"""Shards: what they hold of a data set, and what becomes of an image that cannot be read."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.dataset import Dataset, open_dataset
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.prepare.manifest import read
from fedra_ray.data.prepare.progress import PreparedShard, begin, plan
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.prepare.writing import write_shard

LOCAL = LocalFileSystem()
Prepare = Callable[[PrepareConfig, Dataset], dict[str, Any]]


def test_prepared_images_are_those_of_the_data_set_in_its_order(
    config: PrepareConfig, dataset: Dataset, prepare: Prepare
) -> None:
    prepare(config, dataset)
    prepared = ParquetDataset(config.out, 16)
    assert (prepared.domains, prepared.classes) == (dataset.domains, dataset.classes)
    for domain in dataset.domains:
        for split in ("train", "validation", "test"):
            labels = dataset.labels(domain, split)
            everything = np.arange(len(labels))[::-1]
            assert prepared.labels(domain, split).tolist() == labels.tolist()
            found, expected = (source.images(domain, split, everything) for source in (prepared, dataset))
            assert found.tobytes() == expected.tobytes()


def test_jpeg_comes_close_in_fewer_bytes(
    config: PrepareConfig, dataset: Dataset, tmp_path: Path, prepare: Prepare
) -> None:
    full = prepare(config, dataset)
    lossy = dataclasses.replace(config, format="jpeg", quality=90, out=str(tmp_path / "jpeg"))
    assert prepare(lossy, dataset)["images"] == full["images"]
    first, second = (ParquetDataset(form.out, 16).images("dark", "test", np.arange(6)) for form in (config, lossy))
    difference = np.abs(first.astype(int) - second)
    assert 0 < difference.mean() < 8


def test_images_are_stored_at_the_size_asked_for(config: PrepareConfig, dataset: Dataset, prepare: Prepare) -> None:
    config = dataclasses.replace(config, image_size=12)
    smaller = open_dataset(config.dataset, 12)
    prepare(config, smaller)
    found = ParquetDataset(config.out, 12).images("noisy", "test", np.arange(3))
    assert found.tobytes() == smaller.images("noisy", "test", np.arange(3)).tobytes()


def test_shards_are_not_taken_for_images_that_the_authors_would_resize(
    config: PrepareConfig, dataset: Dataset, prepare: Prepare
) -> None:
    prepare(config, dataset)
    with pytest.raises(SettingError, match=r"dataset.resize=authors: .* was resized by fedra-ray prepare"):
        open_dataset(DatasetConfig(root=config.out, resize="authors"), 16)


def test_a_shard_is_sorted_by_label_in_small_row_groups(
    config: PrepareConfig, dataset: Dataset, prepare: Prepare
) -> None:
    manifest = prepare(config, dataset)
    for shard in manifest["shards"]:
        file = pq.ParquetFile(Path(config.out) / shard["file"])
        labels = file.read(columns=["label"])["label"].to_pylist()
        assert labels == sorted(labels)
        assert len(labels) == shard["images"] == sum(shard["labels"].values())
        assert max(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)) <= 4


@pytest.fixture
def damaged(config: PrepareConfig, tmp_path: Path) -> PrepareConfig:
    """The data set with one image that is none."""
    table = pq.read_table(config.dataset.root)
    images = table["image"].to_pylist()
    images[5] = b"no image at all"
    root = tmp_path / "damaged.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("image"), "image", [images]), root)
    return dataclasses.replace(config, dataset=DatasetConfig(root=str(root)))


def test_an_unreadable_image_is_named(damaged: PrepareConfig, prepare: Prepare) -> None:
    with pytest.raises(ImageError, match=r"damaged.parquet, row 5: not an image"):
        prepare(damaged, open_dataset(damaged.dataset, 16))


def test_a_skipped_image_is_noted_and_the_others_are_kept(damaged: PrepareConfig, prepare: Prepare) -> None:
    damaged.dataset.on_error = "skip"
    manifest = prepare(damaged, open_dataset(damaged.dataset, 16))
    ((name, reason),) = manifest["skipped"]
    assert name.endswith("damaged.parquet, row 5")
    assert reason == "not an image of a known format"
    assert manifest["images"] == 3 * 36 - 1
    assert len(ParquetDataset(damaged.out, 16).labels("dark", "train")) == 23


def test_a_note_names_its_shard(config: PrepareConfig, dataset: Dataset) -> None:
    shards = plan(config, dataset)
    begin(config, shards, LOCAL, config.out)
    assert write_shard(config, dataset, shards[0], LOCAL, config.out) == 10
    note = read(LOCAL, f"{config.out}/{shards[0].file}.json")
    assert PreparedShard(**{field.name: note[field.name] for field in dataclasses.fields(PreparedShard)}) == shards[0]
