"""Restart points: what the server carries after a round. With the configuration they are all that a run needs."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load
from safetensors.numpy import save as serialise

from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.state import ServerState
from fedra_ray.run_dir.folder import Folder

FOLDER = "checkpoints"
_PREFIX, _SUFFIX = "round_", ".safetensors"
_HELD = "held"
_ARRAY = "array."  # begins the names of a method's own arrays in the file


@dataclass(frozen=True)
class Checkpoint:
    """What the server carries after `round` rounds. With the configuration it is all that the next round needs.

    Attributes:
        round: How many rounds are done.
        state: Of the server.
        held: Which frozen weights every client holds (`Storage.held`); None if that is not counted.
    """

    round: int
    state: ServerState
    held: NDArray[np.uint8] | None = None


def save(folder: Folder, checkpoint: Checkpoint, keep: int) -> None:
    """Write a restart point with its checksum, and keep the newest few.

    Raises:
        RunFailedError: if it cannot be written; the ones before are left as they are.
    """
    points = folder.below(FOLDER)
    arrays = {_ARRAY + name: np.asarray(array, order="C") for name, array in checkpoint.state.arrays.items()}
    if checkpoint.held is not None:
        arrays[_HELD] = checkpoint.held
    content = serialise({"values": checkpoint.state.values, "round": np.array(checkpoint.round), **arrays})
    digest = hashlib.sha256(content).hexdigest()
    name = f"{_PREFIX}{checkpoint.round:06d}-{digest[:16]}{_SUFFIX}"
    points.write(name, content)
    others = [other for other in _files(points) if other != name]
    kept = [other for other in others if not other.startswith(f"{_PREFIX}{checkpoint.round:06d}-")]
    for old in set(others) - set(kept[len(kept) - keep + 1 :]):
        points.delete(old)


def newest(folder: Folder) -> Checkpoint | None:
    """The newest restart point whose bytes are those of its checksum, or None."""
    points = folder.below(FOLDER)
    found = _newest_whole(points, _files(points))
    if found is None:
        return None
    return _parse(found[1])


def saved_rounds(folder: Folder) -> list[int]:
    """The rounds that restart points are kept of, ascending."""
    return sorted({_round(name) for name in _files(folder.below(FOLDER))})


def of_round(folder: Folder, number: int) -> Checkpoint:
    """The restart point of a round.

    Raises:
        RunFailedError: if none is kept, or none whose bytes are those of its checksum.
    """
    points = folder.below(FOLDER)
    found = _newest_whole(points, [name for name in _files(points) if _round(name) == number])
    if found is None:
        raise RunFailedError(
            f"{folder} keeps no whole restart point of round {number}: checkpoint.every, checkpoint.keep"
        )
    return _parse(found[1])


def last_saved(folder: Folder) -> tuple[int, datetime | None]:
    """The round of the newest restart point, 0 if there is none, and when it was written if the file system tells."""
    points = folder.below(FOLDER)
    found = _newest_whole(points, _files(points))
    if found is None:
        return 0, None
    name = found[0]
    return _round(name), points.modified(name)


def _newest_whole(points: Folder, names: list[str]) -> tuple[str, bytes] | None:
    """Name and content of the newest of the files whose bytes are those of its checksum."""
    for name in reversed(names):
        content = points.read(name) or b""
        if hashlib.sha256(content).hexdigest()[:16] == name.removesuffix(_SUFFIX)[-16:]:
            return name, content
    return None


def _parse(content: bytes) -> Checkpoint:
    tensors = load(content)
    arrays = {name.removeprefix(_ARRAY): array for name, array in tensors.items() if name.startswith(_ARRAY)}
    return Checkpoint(int(tensors["round"]), ServerState(tensors["values"], arrays), tensors.get(_HELD))


def _round(name: str) -> int:
    return int(name.removeprefix(_PREFIX)[:6])


def _files(points: Folder) -> list[str]:
    return [name for name in points.names() if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
