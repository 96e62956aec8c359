"""Shards of the miniature world: what they hold, and what is left to do after an interruption."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.dataset import Dataset, open_dataset
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.prepare.manifest import read, read_manifest
from fedra_ray.data.prepare.shards import PrepareConfig, Shard, begin, check, finish, is_done, plan, write_shard

LOCAL = LocalFileSystem()


@pytest.fixture
def config(world: Path, tmp_path: Path) -> PrepareConfig:
    dataset = DatasetConfig(root=str(world / "shapes.parquet"))
    out = str(tmp_path / "shards")
    return PrepareConfig(dataset, out, image_size=16, format="png", shard_images=10, group_images=4)


@pytest.fixture
def dataset(config: PrepareConfig) -> Dataset:
    return open_dataset(config.dataset, config.image_size)


def prepare(config: PrepareConfig, dataset: Dataset) -> dict[str, Any]:
    shards = plan(config, dataset)
    begin(config, shards, LOCAL, config.out)
    for shard in shards:
        write_shard(config, dataset, shard, LOCAL, config.out)
    return finish(config, dataset, shards, LOCAL, config.out)


@given(images=st.integers(1, 50))
def test_shards_are_all_images_each_once(images: int) -> None:
    class Numbers(Dataset):
        domains, classes = ("a b", "c"), ("x",)

        def labels(self, domain: str, split: str) -> np.ndarray:
            return np.zeros(images if split == "train" else 3, dtype=np.int64)

        def images(self, domain: str, split: str, indices: np.ndarray) -> np.ndarray:
            raise AssertionError("planning decodes nothing")

    shards = plan(PrepareConfig(shard_images=10), Numbers())
    assert len({shard.file for shard in shards}) == len(shards)
    assert [shard.file for shard in shards] == sorted(shard.file for shard in shards)
    for domain in Numbers.domains:
        parts = [range(s.start, s.stop) for s in shards if (s.domain, s.split) == (domain, "train")]
        assert [index for part in parts for index in part] == list(range(images))
        assert max(map(len, parts)) <= 10


def test_prepared_images_are_those_of_the_data_set_in_its_order(config: PrepareConfig, dataset: Dataset) -> None:
    prepare(config, dataset)
    prepared = ParquetDataset(config.out, 16)
    assert (prepared.domains, prepared.classes) == (dataset.domains, dataset.classes)
    for domain in dataset.domains:
        for split in ("train", "validation", "test"):
            labels = dataset.labels(domain, split)
            everything = np.arange(len(labels))[::-1]
            assert prepared.labels(domain, split).tolist() == labels.tolist()
            found, expected = (each.images(domain, split, everything) for each in (prepared, dataset))
            assert found.tobytes() == expected.tobytes()


def test_jpeg_comes_close_in_fewer_bytes(config: PrepareConfig, dataset: Dataset, tmp_path: Path) -> None:
    full = prepare(config, dataset)
    lossy = dataclasses.replace(config, format="jpeg", quality=90, out=str(tmp_path / "jpeg"))
    assert prepare(lossy, dataset)["images"] == full["images"]
    first, second = (ParquetDataset(each.out, 16).images("dark", "test", np.arange(6)) for each in (config, lossy))
    difference = np.abs(first.astype(int) - second)
    assert 0 < difference.mean() < 8


def test_images_are_stored_at_the_size_asked_for(config: PrepareConfig, dataset: Dataset) -> None:
    config = dataclasses.replace(config, image_size=12)
    smaller = open_dataset(config.dataset, 12)
    prepare(config, smaller)
    found = ParquetDataset(config.out, 12).images("noisy", "test", np.arange(3))
    assert found.tobytes() == smaller.images("noisy", "test", np.arange(3)).tobytes()


def test_a_shard_is_sorted_by_label_in_small_row_groups(config: PrepareConfig, dataset: Dataset) -> None:
    manifest = prepare(config, dataset)
    for shard in manifest["shards"]:
        file = pq.ParquetFile(Path(config.out) / shard["file"])
        labels = file.read(columns=["label"])["label"].to_pylist()
        assert labels == sorted(labels)
        assert len(labels) == shard["images"] == sum(shard["labels"].values())
        assert max(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)) <= 4


def test_the_manifest_tells_checksums_and_statistics(config: PrepareConfig, dataset: Dataset) -> None:
    manifest = prepare(config, dataset)
    assert manifest == read_manifest(LOCAL, config.out)
    assert manifest["images"] == 3 * (24 + 6 + 6)
    assert manifest["images_by_domain"]["light"] == {"train": 24, "validation": 6, "test": 6}
    everything = np.concatenate(
        [
            dataset.images(domain, split, np.arange(len(dataset.labels(domain, split))))
            for domain in dataset.domains
            for split in ("train", "validation", "test")
        ]
    )
    assert manifest["channel_mean"] == pytest.approx((everything / 255).mean(axis=(0, 2, 3)))
    assert manifest["channel_std"] == pytest.approx((everything / 255).std(axis=(0, 2, 3)))
    for shard in manifest["shards"]:
        content = (Path(config.out) / shard["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
    files = {path.name for path in Path(config.out).iterdir()}
    assert files == {shard["file"] for shard in manifest["shards"]} | {"manifest.json", "plan.json"}


def test_a_shard_is_done_only_whole_and_with_its_note(config: PrepareConfig, dataset: Dataset) -> None:
    shards = plan(config, dataset)
    begin(config, shards, LOCAL, config.out)
    first, second = shards[:2]
    write_shard(config, dataset, first, LOCAL, config.out)
    assert is_done(first, LOCAL, config.out)
    assert not is_done(second, LOCAL, config.out)
    file = Path(config.out) / first.file
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"?")
    assert not is_done(first, LOCAL, config.out)
    file.write_bytes(content)
    Path(f"{file}.json").unlink()
    assert not is_done(first, LOCAL, config.out)


def test_an_unfinished_preparation_is_no_data_set(config: PrepareConfig, dataset: Dataset) -> None:
    shards = plan(config, dataset)
    begin(config, shards, LOCAL, config.out)
    write_shard(config, dataset, shards[0], LOCAL, config.out)
    with pytest.raises(SettingError, match="not prepared to the end; run the same `fedra-ray prepare` again"):
        ParquetDataset(config.out, 16)


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_damaged_shard_is_refused_by_name(damage: str, config: PrepareConfig, dataset: Dataset) -> None:
    shard = prepare(config, dataset)["shards"][3]["file"]
    file = Path(config.out) / shard
    content = file.read_bytes()
    file.unlink()
    if damage == "shorter":
        file.write_bytes(content[:-10])
    with pytest.raises(SettingError, match=f"{shard} is missing or damaged"):
        ParquetDataset(config.out, 16)


def test_the_same_settings_continue_and_others_are_refused(config: PrepareConfig, dataset: Dataset) -> None:
    shards = plan(config, dataset)
    assert not begin(config, shards, LOCAL, config.out)
    assert not begin(config, shards, LOCAL, config.out)
    free = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, on_error="skip"), address="local")
    assert not begin(free, shards, LOCAL, config.out)
    with pytest.raises(SettingError, match=r"format=jpeg: .* with format=png; choose another out"):
        begin(dataclasses.replace(config, format="jpeg"), shards, LOCAL, config.out)
    with pytest.raises(SettingError, match="other images; the data set has changed"):
        begin(config, shards[1:], LOCAL, config.out)
    prepare(config, dataset)
    assert begin(config, shards, LOCAL, config.out)


def test_a_folder_with_other_files_is_refused(config: PrepareConfig, dataset: Dataset) -> None:
    Path(config.out).mkdir()
    (Path(config.out) / "thesis.tex").touch()
    with pytest.raises(SettingError, match="holds other files"):
        begin(config, plan(config, dataset), LOCAL, config.out)
    assert [path.name for path in Path(config.out).iterdir()] == ["thesis.tex"]


@pytest.fixture
def damaged(config: PrepareConfig, tmp_path: Path) -> PrepareConfig:
    """The data set with one image that is none."""
    table = pq.read_table(config.dataset.root)
    images = table["image"].to_pylist()
    images[5] = b"no image at all"
    root = tmp_path / "damaged.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("image"), "image", [images]), root)
    return dataclasses.replace(config, dataset=DatasetConfig(root=str(root)))


def test_an_unreadable_image_is_named(damaged: PrepareConfig) -> None:
    with pytest.raises(ImageError, match=r"damaged.parquet, row 5: not an image"):
        prepare(damaged, open_dataset(damaged.dataset, 16))


def test_a_skipped_image_is_noted_and_the_others_are_kept(damaged: PrepareConfig) -> None:
    damaged.dataset.on_error = "skip"
    manifest = prepare(damaged, open_dataset(damaged.dataset, 16))
    ((name, reason),) = manifest["skipped"]
    assert name.endswith("damaged.parquet, row 5")
    assert reason == "not an image of a known format"
    assert manifest["images"] == 3 * 36 - 1
    assert len(ParquetDataset(damaged.out, 16).labels("dark", "train")) == 23


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("out", "", "name a folder"),
        ("image_size", 0, "at least 1"),
        ("quality", 101, "at most 100"),
        ("shard_images", 0, "at least 1"),
        ("group_images", -1, "at least 1"),
        ("format", "tiff", "one of jpeg, png"),
    ],
)
def test_values_that_cannot_work_are_refused(setting: str, value: Any, allowed: str) -> None:
    with pytest.raises(SettingError, match=allowed) as refusal:
        check(dataclasses.replace(PrepareConfig(out="shards"), **{setting: value}))
    assert refusal.value.args[:2] == (setting, value)


def test_a_note_names_its_shard(config: PrepareConfig, dataset: Dataset) -> None:
    shards = plan(config, dataset)
    begin(config, shards, LOCAL, config.out)
    assert write_shard(config, dataset, shards[0], LOCAL, config.out) == 10
    note = read(LOCAL, f"{config.out}/{shards[0].file}.json")
    assert Shard(**{field.name: note[field.name] for field in dataclasses.fields(Shard)}) == shards[0]
