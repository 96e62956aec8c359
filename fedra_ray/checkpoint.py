"""Restart points: the global adapter after a round. With the configuration they are all that randomness needs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file


@dataclass(frozen=True)
class Checkpoint:
    """The state of an experiment after `round` rounds: the flat global adapter (float32)."""

    round: int
    values: NDArray[np.float32]


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write a restart point under its final name only once it is complete, and keep the newest few."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".checkpoint.part"
    save_file({"values": checkpoint.values}, part, metadata={"round": str(checkpoint.round)})
    part.replace(folder / f"round_{checkpoint.round:06d}.safetensors")
    for old in _files(folder)[:-keep]:
        old.unlink()


def newest(folder: Path) -> Checkpoint | None:
    """The newest restart point that can be read, or None."""
    for path in reversed(_files(folder)):
        try:
            with safe_open(path, framework="np") as file:
                return Checkpoint(int(file.metadata()["round"]), file.get_tensor("values"))
        except (SafetensorError, OSError):
            continue
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("round_*.safetensors"))
