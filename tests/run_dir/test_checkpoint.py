from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.state import ServerState
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.checkpoint import Checkpoint
from fedra_ray.run_dir.folder import Folder


def state(number: int) -> Checkpoint:
    values = np.random.default_rng(number).standard_normal(1000).astype(np.float32)
    return Checkpoint(number, ServerState(values, {"moment": np.arange(number, dtype=np.float64)}))


def files(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").iterdir())


def rounds(folder: Path) -> list[str]:
    return [path.name.partition("-")[0] for path in files(folder)]


def newest(folder: Path) -> Checkpoint:
    found = checkpoint.newest(Folder(folder))
    assert found is not None
    return found


def test_the_newest_comes_back_bit_by_bit(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        checkpoint.save(Folder(tmp_path / "run"), state(number), keep=5)
    found = newest(tmp_path / "run")
    assert found.round == 10
    assert found.state.values.tobytes() == state(10).state.values.tobytes()
    assert found.state.arrays["moment"].tobytes() == state(10).state.arrays["moment"].tobytes()


@pytest.mark.parametrize("array", [np.array(3), np.zeros((0, 2)), np.arange(6.0).reshape(2, 3).T])
def test_an_array_keeps_its_shape(array: np.ndarray, tmp_path: Path) -> None:
    """A count without dimensions too: methods that resume read it with int()."""
    checkpoint.save(Folder(tmp_path), Checkpoint(1, ServerState(np.zeros(1, np.float32), {"own": array})), keep=1)
    found = newest(tmp_path).state.arrays["own"]
    assert found.shape == array.shape
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_are_kept(keep: int, tmp_path: Path) -> None:
    for number in (8, 9, 10, 11):
        checkpoint.save(Folder(tmp_path), state(number), keep)
    assert rounds(tmp_path) == ["round_000009", "round_000010", "round_000011"][-keep:]


def test_saving_again_replaces(tmp_path: Path) -> None:
    checkpoint.save(Folder(tmp_path), state(0), keep=2)
    checkpoint.save(Folder(tmp_path), Checkpoint(1, ServerState(np.zeros(3, np.float32))), keep=2)
    checkpoint.save(Folder(tmp_path), Checkpoint(1, ServerState(np.ones(3, np.float32))), keep=2)
    assert rounds(tmp_path) == ["round_000000", "round_000001"]
    assert newest(tmp_path).state.values.tolist() == [1, 1, 1]


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_gives_way_to_the_one_before(length: int, tmp_path: Path) -> None:
    for number in (1, 2):
        checkpoint.save(Folder(tmp_path), state(number), keep=2)
    broken = files(tmp_path)[-1]
    broken.write_bytes(broken.read_bytes()[:length])
    assert newest(tmp_path).round == 1


@given(place=st.integers(0, 4000), flip=st.integers(1, 255))
@settings(max_examples=50)
def test_a_changed_byte_is_noticed(place: int, flip: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("points")
    for number in (1, 2):
        checkpoint.save(Folder(folder), state(number), keep=2)
    content = bytearray(files(folder)[-1].read_bytes())
    content[place % len(content)] ^= flip
    files(folder)[-1].write_bytes(content)
    assert newest(folder).round == 1


def test_an_interrupted_write_leaves_the_finished_ones(tmp_path: Path) -> None:
    checkpoint.save(Folder(tmp_path), state(1), keep=2)
    (tmp_path / "checkpoints" / "round_000002-0123456789abcdef.safetensors.part").write_bytes(b"half of a restart po")
    assert newest(tmp_path).round == 1


def test_nothing_to_restart_from_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(Folder(tmp_path / "nowhere")) is None
    (tmp_path / "checkpoints").mkdir()
    assert checkpoint.newest(Folder(tmp_path)) is None
    (tmp_path / "checkpoints" / "round_000001-0123456789abcdef.safetensors").write_bytes(b"")
    assert checkpoint.newest(Folder(tmp_path)) is None


def test_a_restart_point_is_found_by_its_round(tmp_path: Path) -> None:
    for number in (2, 10):
        checkpoint.save(Folder(tmp_path), state(number), keep=5)
    assert checkpoint.saved_rounds(Folder(tmp_path)) == [2, 10]
    assert checkpoint.of_round(Folder(tmp_path), 2).state.values.tobytes() == state(2).state.values.tobytes()
    with pytest.raises(RunFailedError, match="round 3"):
        checkpoint.of_round(Folder(tmp_path), 3)
