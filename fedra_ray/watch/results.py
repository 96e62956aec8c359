"""What a finished run leaves besides its records: the adapter in PEFT's format, its page and summary.json."""

import json
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.errors import one_line
from fedra_ray.config.labels import experiment_label
from fedra_ray.federation.reports import Outcome
from fedra_ray.federation.shards import accuracies, mean_accuracy
from fedra_ray.model.kernels import unavailable
from fedra_ray.report.facts import read
from fedra_ray.report.partition import draw_partition
from fedra_ray.run_dir.claim import SUMMARY
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.peft_export import save_peft
from fedra_ray.run_dir.records import hours, read_table, times

_PACKAGES = ("fedra-ray", "ray", "torch", "timm", "peft", "pyarrow", "hydra-core", "numpy")


def load_libraries() -> None:
    """Import what only `write` needs, which takes seconds: a run does that while rounds go on."""
    import peft  # noqa: F401

    import fedra_ray.report.page  # noqa: F401


def write(folder: Folder, blueprint: Blueprint, outcome: Outcome) -> dict[str, Any]:
    """Write adapter/, report.html and, last of all, summary.json, which marks the run as finished.

    A page that cannot be drawn is left out with a warning: the results are complete without it.

    Args:
        folder: The run directory, which has the tables of the run already.
        blueprint: The experiment.
        outcome: Its end.

    Returns:
        The summary.

    Raises:
        FileNotFoundError: if a table is not there.
        RunFailedError: if a file cannot be written.
    """
    rounds = read_table(folder, "rounds")
    save_peft(folder.below("adapter"), blueprint.layout, outcome.values, blueprint.config.lora, blueprint.targets)
    folder.write("partition.png", draw_partition(read_table(folder, "partition"), blueprint.classes))
    summary = {
        "method": blueprint.config.method.name,
        "label": experiment_label(blueprint.config),
        "dataset": blueprint.config.dataset.name,
        "backbone": blueprint.config.backbone.name,
        "seed": blueprint.config.seed,
        "rounds": len(rounds),
        "split": blueprint.config.evaluation.split,
        "accuracy": accuracies(outcome.scores),
        "mean_accuracy": mean_accuracy(outcome.scores),
        "evaluated_layers": list(blueprint.method().evaluated_layers),
        "depths": blueprint.config.fleet.depths,
        "partition": blueprint.config.partition.name,
        "skipped_images": len(read_table(folder, "skipped")),
        **{reason: times(rounds[reason].to_pylist()) for reason in ("dropped", "late", "rejected")},
        "seconds": sum(rounds["seconds"].to_pylist()),
        "simulated_hours": hours(rounds["simulated_s"].to_pylist()),
        "bytes_up": sum(rounds["bytes_up"].to_pylist()),
        "bytes_down": sum(rounds["bytes_down"].to_pylist()),
        # tried in this process alone: client actors have the same version of torch
        "kernels": f"plain: {reason}" if (reason := unavailable()) else "fused",
        "versions": _versions(),
        "git_commit": _git_commit(),
    }
    _write_page(folder, summary)
    folder.write(SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _write_page(folder: Folder, summary: dict[str, Any]) -> None:
    from fedra_ray.report.page import FILE, render  # matplotlib and jinja2 take a second, which only a run's end spends

    try:
        page = render([read(folder, summary)])
    except Exception as error:  # nothing that a picture meets is worth the results
        reason = one_line(f"{type(error).__name__}: {error}")
        again = f"try again with: fedra-ray report {shlex.quote(str(folder))}"
        print(f"warning: {FILE} was not written ({reason}); the results are complete; {again}", file=sys.stderr)
        return
    folder.write(FILE, page.encode())


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _git_commit() -> str | None:
    """The commit of the checkout that this package lies in, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
