"""The folder of a preparation: its shards, what is left to do after an interruption, and its manifest."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from fedra_ray.config.errors import SettingError
from fedra_ray.data.dataset import Dataset
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.prepare.manifest import read_manifest
from fedra_ray.data.prepare.progress import begin, is_done, plan
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.prepare.writing import write_shard

LOCAL = LocalFileSystem()
Prepare = Callable[[PrepareConfig, Dataset], dict[str, Any]]


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


def test_the_manifest_tells_checksums_and_statistics(config: PrepareConfig, dataset: Dataset, prepare: Prepare) -> None:
    manifest = prepare(config, dataset)
    assert manifest == read_manifest(LOCAL, config.out)
    assert manifest["images"] == 3 * (24 + 6 + 6)
    assert (manifest["classes"], manifest["class_numbers"]) == (["square", "circle", "cross"], [0, 1, 2])
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
def test_a_damaged_shard_is_refused_by_name(
    damage: str, config: PrepareConfig, dataset: Dataset, prepare: Prepare
) -> None:
    shard = prepare(config, dataset)["shards"][3]["file"]
    file = Path(config.out) / shard
    content = file.read_bytes()
    file.unlink()
    if damage == "shorter":
        file.write_bytes(content[:-10])
    with pytest.raises(SettingError, match=f"{shard} is missing or damaged"):
        ParquetDataset(config.out, 16)


def test_the_same_settings_continue_and_others_are_refused(
    config: PrepareConfig, dataset: Dataset, prepare: Prepare
) -> None:
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
