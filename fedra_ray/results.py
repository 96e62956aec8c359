"""What a finished run leaves besides its records: the adapter in PEFT's format and summary.json."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fedra_ray.adapter import save_peft
from fedra_ray.blueprint import Blueprint
from fedra_ray.data import division
from fedra_ray.experiment import Outcome
from fedra_ray.figures import draw_partition

SUMMARY = "summary.json"
_PACKAGES = ("fedra-ray", "ray", "torch", "timm", "peft", "pyarrow", "hydra-core", "numpy")


def write(run_dir: Path, blueprint: Blueprint, outcome: Outcome) -> dict[str, Any]:
    """Write adapter/ and, last of all, summary.json, which marks the run as finished; returns the summary."""
    save_peft(run_dir / "adapter", blueprint.layout, outcome.values, blueprint.config.lora, blueprint.targets)
    draw_partition(pq.read_table(run_dir / division.FILE), blueprint.classes, run_dir / "partition.png")
    accuracy = {score.domain: score.top1 / score.examples for score in outcome.scores}
    rounds = pq.read_table(run_dir / "rounds.parquet")
    summary = {
        "method": blueprint.config.method.name,
        "dataset": blueprint.config.dataset.name,
        "backbone": blueprint.config.backbone.name,
        "seed": blueprint.config.seed,
        "rounds": len(rounds),
        "split": blueprint.config.evaluation.split,
        "accuracy": accuracy,
        "mean_accuracy": sum(accuracy.values()) / len(accuracy),
        "evaluated_layers": list(blueprint.method().evaluated_layers),
        "depths": blueprint.config.fleet.depths,
        "partition": blueprint.config.partition.name,
        "skipped_images": len(pq.read_table(run_dir / "skipped.parquet")),
        "seconds": sum(rounds["seconds"].to_pylist()),
        "bytes_up": sum(rounds["bytes_up"].to_pylist()),
        "bytes_down": sum(rounds["bytes_down"].to_pylist()),
        "versions": _versions(),
        "git_commit": _git_commit(),
    }
    part = run_dir / f".{SUMMARY}.part"
    part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    part.replace(run_dir / SUMMARY)
    return summary


def read(run_dir: Path) -> dict[str, Any] | None:
    """The summary of a finished run, or None."""
    path = run_dir / SUMMARY
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_commit() -> str | None:
    """The commit of the checkout that this package lies in, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
