from pathlib import Path

import numpy as np
import pytest

from fedra_ray import checkpoint
from fedra_ray.checkpoint import Checkpoint


def state(number: int) -> Checkpoint:
    return Checkpoint(number, np.random.default_rng(number).standard_normal(1000).astype(np.float32))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_comes_back_bit_by_bit(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        checkpoint.save(tmp_path / "points", state(number), keep=5)
    found = checkpoint.newest(tmp_path / "points")
    assert found is not None
    assert found.round == 10
    assert found.values.tobytes() == state(10).values.tobytes()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for number in (8, 9, 10, 11):
        checkpoint.save(tmp_path, state(number), keep=2)
    assert files(tmp_path) == ["round_000010.safetensors", "round_000011.safetensors"]


def test_saving_again_replaces(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, Checkpoint(1, np.zeros(3, np.float32)), keep=2)
    checkpoint.save(tmp_path, Checkpoint(1, np.ones(3, np.float32)), keep=2)
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.values.tolist() == [1, 1, 1]


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_gives_way_to_the_one_before(length: int, tmp_path: Path) -> None:
    for number in (1, 2):
        checkpoint.save(tmp_path, state(number), keep=2)
    broken = tmp_path / "round_000002.safetensors"
    broken.write_bytes(broken.read_bytes()[:length])
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.round == 1


def test_an_interrupted_write_leaves_the_finished_ones(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), keep=2)
    (tmp_path / ".checkpoint.part").write_bytes(b"half of a restart po")
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.round == 1
    checkpoint.save(tmp_path, state(2), keep=2)
    assert files(tmp_path) == ["round_000001.safetensors", "round_000002.safetensors"]


def test_nothing_to_restart_from_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "nowhere") is None
    assert checkpoint.newest(tmp_path) is None
    (tmp_path / "round_000001.safetensors").write_bytes(b"")
    assert checkpoint.newest(tmp_path) is None
