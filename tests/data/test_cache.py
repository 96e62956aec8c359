import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.cache import Cache, MemoryCache, open_cache
from fedra_ray.data.dataset import open_dataset

KEY = ("dark", "train")
IMAGE_BYTES = 3 * 16 * 16


def pixels(number: int, size: int = 16) -> np.ndarray:
    """An image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (3, size, size), dtype=np.uint8)


@pytest.fixture
def config(world: Path, tmp_path: Path) -> DatasetConfig:
    """24 training images of each of three domains, cached in a folder."""
    return DatasetConfig(root=str(world / "shapes.parquet"), cache=str(tmp_path / "cache"))


def opened(config: DatasetConfig, size: int = 16) -> Cache:
    return open_cache(config, open_dataset(config, size), size)


def run_script(script: str, config: DatasetConfig) -> subprocess.Popen[str]:
    """A process with `config`, `dataset` and `cache` of the same data set, 16 pixels wide."""
    start = f"""
import numpy as np
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.cache import open_cache
from fedra_ray.data.dataset import open_dataset
config = {config!r}
dataset = open_dataset(config, 16)
cache = open_cache(config, dataset, 16)
key = {KEY!r}
"""
    command = [sys.executable, "-c", start + script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return out


def test_memory_keeps_the_first_images_up_to_its_bound() -> None:
    """33 images of 30,000 bytes fit into 10^6 bytes, and then one of 10,000."""
    cache = MemoryCache(1)
    for number in range(40):
        cache.put(KEY, number, pixels(number, 100))
    for number in range(40):
        kept = cache.get(KEY, number)
        assert (kept is not None) == (number < 33)
        assert kept is None or kept.tolist() == pixels(number, 100).tolist()
    cache.put(KEY, 40, np.zeros((1, 100, 100), dtype=np.uint8))
    assert cache.get(KEY, 40) is not None
    cache.put(KEY, 41, np.zeros((1, 1, 1), dtype=np.uint8))
    assert cache.get(KEY, 41) is None


def test_no_memory_keeps_nothing() -> None:
    cache = MemoryCache(0)
    cache.put(KEY, 0, pixels(0))
    assert cache.get(KEY, 0) is None


@pytest.mark.parametrize("folder", [False, True], ids=["memory", "node"])
def test_domains_and_splits_and_images_do_not_mix(folder: bool, config: DatasetConfig) -> None:
    cache = opened(config) if folder else MemoryCache(1)
    places = [(("dark", "train"), 0), (("light", "train"), 0), (("dark", "test"), 0), (("dark", "train"), 5)]
    for number, (key, index) in enumerate(places):
        assert cache.get(key, index) is None
        cache.put(key, index, pixels(number))
    for number, (key, index) in enumerate(places):
        assert cache.get(key, index).tolist() == pixels(number).tolist()
    assert cache.get(KEY, 4) is None


def test_without_a_folder_images_are_kept_in_memory(config: DatasetConfig, tmp_path: Path) -> None:
    config.cache = None
    cache = opened(config)
    cache.put(KEY, 0, pixels(0))
    assert cache.get(KEY, 0) is not None
    assert opened(config).get(KEY, 0) is None
    assert list(tmp_path.iterdir()) == []


def test_what_one_keeps_in_a_folder_another_finds(config: DatasetConfig) -> None:
    before, first = opened(config), opened(config)
    assert before.get(KEY, 7) is None
    first.put(KEY, 7, pixels(7))
    for cache in (first, before, opened(config)):
        assert cache.get(KEY, 7).tolist() == pixels(7).tolist()


def test_an_image_that_lies_in_memory_otherwise_is_kept_as_it_looks(config: DatasetConfig) -> None:
    turned = pixels(0).transpose(0, 2, 1)
    opened(config).put(KEY, 0, turned)
    assert opened(config).get(KEY, 0).tolist() == turned.tolist()


def test_a_black_image_is_kept(config: DatasetConfig) -> None:
    black = np.zeros((3, 16, 16), dtype=np.uint8)
    opened(config).put(KEY, 2, black)
    assert opened(config).get(KEY, 2).tolist() == black.tolist()
    assert opened(config).get(KEY, 1) is None


def test_what_one_process_keeps_another_finds(config: DatasetConfig) -> None:
    output(run_script("cache.put(key, 3, np.full((3, 16, 16), 77, np.uint8))", config))
    assert opened(config).get(KEY, 3).tolist() == np.full((3, 16, 16), 77).tolist()
    opened(config).put(KEY, 4, pixels(4))
    assert (
        output(run_script("print(cache.get(key, 4).sum(), cache.get(key, 5))", config)) == f"{pixels(4).sum()} None\n"
    )


def test_processes_that_write_at_once_never_read_half_an_image(config: DatasetConfig) -> None:
    script = """
truth = dataset.images(*key, np.arange(24))
for turn in range(200):
    for index in range(24):
        kept = cache.get(key, index)
        assert kept is None or (kept == truth[index]).all()
        cache.put(key, index, truth[index])
"""
    for process in [run_script(script, config) for _ in range(3)]:
        output(process)


@pytest.mark.parametrize("suffix", [".pixels", ".checks"])
def test_a_damaged_image_is_not_there(suffix: str, config: DatasetConfig) -> None:
    cache = opened(config)
    for number in range(3):
        cache.put(KEY, number, pixels(number))
    (file,) = Path(config.cache).glob(f"*{suffix}")
    size = file.stat().st_size // 3
    with file.open("r+b") as stream:
        stream.seek(size)
        byte = stream.read(1)
        stream.seek(size)
        stream.write(bytes([byte[0] ^ 1]))
    for reader in (cache, opened(config)):
        assert [reader.get(KEY, number) is not None for number in range(3)] == [True, False, True]
    cache.put(KEY, 1, pixels(1))
    assert opened(config).get(KEY, 1).tolist() == pixels(1).tolist()


@pytest.mark.parametrize("suffix", [".pixels", ".checks"])
def test_a_file_cut_short_has_what_is_left(suffix: str, config: DatasetConfig) -> None:
    cache = opened(config)
    for number in range(3):
        cache.put(KEY, number, pixels(number))
    (file,) = Path(config.cache).glob(f"*{suffix}")
    os.truncate(file, file.stat().st_size // 2)
    for reader in (cache, opened(config)):
        assert [reader.get(KEY, number) is not None for number in range(3)] == [True, False, False]


def test_a_full_disk_keeps_what_is_there_and_harms_nothing(config: DatasetConfig) -> None:
    """No file may grow beyond four images and a half."""
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({IMAGE_BYTES} * 9 // 2,) * 2)
truth = dataset.images(*key, np.arange(24))
for turn in range(2):
    for index in range(24):
        kept = cache.get(key, index)
        assert kept is None or (kept == truth[index]).all()
        cache.put(key, index, truth[index])
print([index for index in range(24) if cache.get(key, index) is not None])
"""
    assert output(run_script(script, config)) == "[0, 1, 2, 3]\n"


def test_image_sizes_share_a_folder_and_no_image(config: DatasetConfig) -> None:
    small, large = opened(config, 8), opened(config, 16)
    large.put(KEY, 0, pixels(0, 16))
    assert small.get(KEY, 0) is None
    small.put(KEY, 0, pixels(1, 8))
    assert opened(config, 16).get(KEY, 0).tolist() == pixels(0, 16).tolist()
    assert opened(config, 8).get(KEY, 0).tolist() == pixels(1, 8).tolist()


def test_ways_of_resizing_share_a_folder_and_no_image(config: DatasetConfig) -> None:
    as_authors = dataclasses.replace(config, resize="authors")
    opened(config).put(KEY, 0, pixels(0))
    assert opened(as_authors).get(KEY, 0) is None
    shares = np.random.default_rng(1).normal(size=(3, 16, 16)).astype(np.float32)
    opened(as_authors).put(KEY, 0, shares)
    assert (opened(as_authors).get(KEY, 0) == shares).all()
    assert opened(config).get(KEY, 0).tolist() == pixels(0).tolist()


@pytest.mark.parametrize(
    "change",
    [{"root": "copy.parquet"}, {"options": {"validation": 0.2}}, {"target": "other"}],
    ids=["root", "options", "target"],
)
def test_data_sets_share_a_folder_and_no_image(change: dict[str, Any], config: DatasetConfig, tmp_path: Path) -> None:
    dataset = open_dataset(config, 16)
    open_cache(config, dataset, 16).put(KEY, 0, pixels(0))
    other = DatasetConfig(**{"root": config.root, "cache": config.cache} | change)
    assert open_cache(other, dataset, 16).get(KEY, 0) is None


def test_a_data_set_that_has_changed_starts_anew(config: DatasetConfig, tmp_path: Path) -> None:
    """One that has lost its last image, under the same name."""

    class Shorter(type(open_dataset(config, 16))):
        def labels(self, domain: str, split: str) -> np.ndarray:
            return super().labels(domain, split)[:-1]

    opened(config).put(KEY, 0, pixels(0))
    assert open_cache(config, Shorter(config.root, 16), 16).get(KEY, 0) is None


def test_images_that_have_changed_are_not_served_from_before(config: DatasetConfig, tmp_path: Path) -> None:
    """The same file with other images in it, and the same labels."""
    root = tmp_path / "own.parquet"
    shutil.copy(config.root, root)
    config.root = str(root)
    opened(config).put(KEY, 0, pixels(0))
    assert opened(config).get(KEY, 0) is not None
    table = pq.read_table(root)
    images = table["image"].to_pylist()
    place = table.schema.get_field_index("image")
    pq.write_table(table.set_column(place, table.schema.field(place), [images[::-1]]), root)
    assert opened(config).get(KEY, 0) is None


def test_a_folder_that_was_removed_is_made_again(config: DatasetConfig) -> None:
    opened(config).put(KEY, 0, pixels(0))
    shutil.rmtree(config.cache)
    cache = opened(config)
    assert cache.get(KEY, 0) is None
    cache.put(KEY, 0, pixels(0))
    assert opened(config).get(KEY, 0) is not None
