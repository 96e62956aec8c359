"""What a finished run leaves besides its records: the adapter in PEFT's format, its page and summary.json."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.errors import one_line
from fedra_ray.config.labels import experiment_label
from fedra_ray.federation.metrics import mean_metrics, metrics_by_domain
from fedra_ray.federation.reports import Outcome
from fedra_ray.federation.shards import accuracies, mean_accuracy
from fedra_ray.model.backbone import normalisation
from fedra_ray.model.kernels import unavailable
from fedra_ray.report.facts import Facts, read
from fedra_ray.report.partition import draw_partition
from fedra_ray.run_dir.claim import SUMMARY
from fedra_ray.run_dir.folder import Folder, below
from fedra_ray.run_dir.model_description import ADAPTER, PIXELS, TOKENS, Exit, ModelDescription
from fedra_ray.run_dir.peft_export import load_library, place, save_peft
from fedra_ray.run_dir.records import hours, read_table, times

_PACKAGES = ("fedra-ray", "ray", "torch", "timm", "peft", "pyarrow", "hydra-core", "numpy")


def load_libraries() -> None:
    """Import what only `write` needs, which takes seconds: a run does that while rounds go on."""
    import fedra_ray.report.page  # noqa: F401

    load_library()


def write(folder: Folder, blueprint: Blueprint, outcome: Outcome, notices: Sequence[str] = ()) -> dict[str, Any]:
    """Write adapter/ with model.json, report.html and, last of all, summary.json, which marks the run as finished.

    A page that cannot be drawn is left out with a warning: the results are complete without it.

    Args:
        folder: The run directory, which has the tables of the run already.
        blueprint: The experiment.
        outcome: Its final adapter and scores.
        notices: What was not as the configuration has it, in one line each.

    Returns:
        The summary.

    Raises:
        FileNotFoundError: if a table is not there.
        RunFailedError: if a file cannot be written.
    """
    rounds = read_table(folder, "rounds")
    adapter, config = folder.below(ADAPTER), blueprint.config
    task = "CAUSAL_LM" if config.backbone.head == "own" else None
    save_peft(adapter, blueprint.layout, outcome.values, config.lora, blueprint.targets, blueprint.block_path, task)
    _description(blueprint).write(adapter)
    folder.write("partition.png", draw_partition(read_table(folder, "partition"), blueprint.classes))
    summary = {
        "method": blueprint.config.method.name,
        "label": experiment_label(blueprint.config),
        "dataset": blueprint.config.dataset.name,
        "class_numbers": _class_numbers(blueprint),
        "backbone": blueprint.config.backbone.name,
        "seed": blueprint.config.seed,
        "rounds": len(rounds),
        "split": blueprint.config.evaluation.split,
        "accuracy": accuracies(outcome.scores),
        "mean_accuracy": mean_accuracy(outcome.scores),
        "metrics": metrics_by_domain(outcome.scores),
        "mean_metrics": mean_metrics(outcome.scores),
        "evaluated_layers": list(blueprint.method().evaluated_layers),
        "depths": blueprint.config.fleet.depths,
        "partition": blueprint.config.partition.name,
        "skipped_images": len(read_table(folder, "skipped")),
        **{reason: times(rounds[reason].to_pylist()) for reason in ("dropped", "late", "rejected")},
        "seconds": sum(rounds["seconds"].to_pylist()),
        "simulated_hours": hours(rounds["simulated_s"].to_pylist()),
        "bytes_up": sum(rounds["bytes_up"].to_pylist()),
        "bytes_down": sum(rounds["bytes_down"].to_pylist()),
        "bytes_fetched": sum(rounds["bytes_fetched"].to_pylist()),
        # tried in this process alone: client actors have the same version of torch
        "kernels": f"plain: {reason}" if (reason := unavailable()) else "fused",
        "notices": list(notices),
        "versions": _versions(),
        "git_commit": _git_commit(),
    }
    _write_page(folder, summary)
    folder.write(SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _class_numbers(blueprint: Blueprint) -> dict[str, int] | None:
    """The data set's own numbers of the classes, by name; None if they are the labels of the run."""
    numbers = blueprint.dataset.class_numbers
    return None if numbers == tuple(range(len(numbers))) else dict(zip(blueprint.classes, numbers, strict=True))


def write_comparison(folder: Folder, runs: Sequence[Folder]) -> str | None:
    """Write report.html, which compares finished runs, into the folder of their sweep.

    A page that cannot be drawn is left out with a warning: the results are complete without it.

    Args:
        folder: The folder of the sweep.
        runs: The folders of the runs.

    Returns:
        The path or URI of the page; None if there is no finished run, or no page.

    Raises:
        RunFailedError: if the page cannot be written.
    """
    return _draw(folder, lambda: [read(run) for run in runs], runs) if runs else None


def _description(blueprint: Blueprint) -> ModelDescription:
    config, method = blueprint.config, blueprint.method()
    exits = []
    for after, head in method.evaluated_exits:
        if config.backbone.head == "own":
            exits.append(Exit(after, head, file="", tensors=""))
            continue
        file, bias = place(f"heads.{head}.bias", blueprint.layout.head_names, blueprint.block_path)
        exits.append(Exit(after, head, file, bias.removesuffix("bias")))
    return ModelDescription(
        method=config.method.target,
        backbone=asdict(config.backbone),
        **_preprocessing(blueprint),
        classes=blueprint.classes,
        domains=blueprint.domains,
        evaluated_layers=method.evaluated_layers,
        exits=tuple(exits),
        scores=method.combination,
        template=getattr(blueprint.dataset, "template", None),
    )


def _preprocessing(blueprint: Blueprint) -> dict[str, Any]:
    """What becomes of an example before the model sees it."""
    config, size = blueprint.config, blueprint.input_size
    if config.backbone.source is not None:
        return {"input_size": (size,), "pixels": TOKENS, "mean": (), "std": ()}
    mean, std = (tuple(part.flatten().tolist()) for part in normalisation(config.backbone))
    return {"input_size": (3, size, size), "pixels": PIXELS[config.dataset.resize], "mean": mean, "std": std}


def _write_page(folder: Folder, summary: dict[str, Any]) -> None:
    _draw(folder, lambda: [read(folder, summary)], [folder])


def _draw(folder: Folder, facts: Callable[[], list[Facts]], runs: Sequence[Folder]) -> str | None:
    """Write the page of runs, whose facts may turn out to be unreadable; returns where it is."""
    from fedra_ray.report.page import FILE, render  # matplotlib and jinja2 take a second, which only a run's end spends

    try:
        page = render(facts())
    except Exception as error:  # nothing that a picture meets is worth the results
        reason = one_line(f"{type(error).__name__}: {error}")
        again = f"try again with: fedra-ray report {shlex.join(map(str, runs))}"
        print(f"warning: {FILE} was not written ({reason}); the results are complete; {again}", file=sys.stderr)
        return None
    folder.write(FILE, page.encode())
    return below(str(folder), FILE)


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
