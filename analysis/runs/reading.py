"""Runs as the analyses read them: from run directories, local or URIs, without touching them."""

import argparse
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import pandas as pd
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.numpy import load

from fedra_ray.config.errors import SettingError
from fedra_ray.config.labels import experiment_label
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.claim import CONFIG, SUMMARY
from fedra_ray.run_dir.folder import Folder

R = TypeVar("R")

#: What a summary.json must state.
NEEDED = ("method", "dataset", "backbone", "seed", "rounds", "split", "accuracy", "mean_accuracy")


class UnfinishedError(SettingError):
    """A directory whose run has not come to its end."""


@dataclass(frozen=True)
class Run:
    """A run, finished or not.

    Attributes:
        folder: Its directory.
        config: What it was configured with.
        summary: Its summary.json.
    """

    folder: Folder
    config: ExperimentConfig
    summary: dict[str, Any]

    @property
    def label(self) -> str:
        """The method's name as its paper writes it, with FedRA's draw where it is not the paper's."""
        return experiment_label(self.config)

    @property
    def fleet(self) -> str:
        """Depths of the clients, the largest first, in their least numbers: runs may deal them to other domains."""
        depths, dynamic = self.config.fleet.depths, self.config.fleet.dynamic
        if dynamic:
            return f"{' '.join(map(str, depths))}, dynamic"
        if len(set(depths)) == 1:
            return f"all {depths[0]}"
        counts = Counter(depths)
        each = math.gcd(*counts.values())
        return " ".join(str(depth) for depth in sorted(counts, reverse=True) for _ in range(counts[depth] // each))

    @property
    def domains(self) -> list[str]:
        """Names of the domains, in their order."""
        return list(self.summary["accuracy"])

    @property
    def num_layers(self) -> int:
        """Layers of the full model."""
        return len(self.table("rounds")["layer_holders"].iloc[0])

    @cached_property
    def num_classes(self) -> int:
        """Classes that the head tells apart, as the saved adapter has it.

        Raises:
            SettingError: if there is none.
        """
        content = self.folder.below("adapter").read("adapter_model.safetensors")
        if content is None:
            raise SettingError("RUN_DIR", str(self.folder), "has no adapter; name the directory of a finished run")
        return len(load(content)["base_model.model.head.bias"])

    @cached_property
    def saved_rounds(self) -> list[int]:
        """The rounds of which the global adapter is kept."""
        return checkpoint.saved_rounds(self.folder)

    def table(self, name: str) -> pd.DataFrame:
        """One of its Parquet tables: rounds, clients, evaluations, partition or skipped.

        Raises:
            SettingError: if the directory lacks it.
        """
        content = self.folder.read(f"{name}.parquet")
        if content is None:
            raise SettingError("RUN_DIR", str(self.folder), f"has no {name}.parquet; name the directory of a run")
        return pd.read_parquet(io.BytesIO(content))


def read_run(where: str) -> Run:
    """The finished run in a directory, a path or a URI.

    Raises:
        SettingError: if there is none, or one of another version.
    """
    folder, settings, summary = read_files(where)
    try:
        return Run(folder, typed(settings), summary)
    except OmegaConfBaseException as error:
        raise SettingError("RUN_DIR", where, f"is a run of another version: {str(error).splitlines()[0]}") from error


def read_files(where: str | Path) -> tuple[Folder, dict[str, Any], dict[str, Any]]:
    """The directory of a finished run, a path or a URI, with what its config.yaml and its summary.json say.

    Raises:
        UnfinishedError: if the run has no summary.json yet.
        SettingError: if it is not the directory of a run, or a file says something else than a run writes.
    """
    folder = Folder(where, "RUN_DIR")
    settings = _load(folder, CONFIG, yaml.safe_load)
    summary = _load(folder, SUMMARY, json.loads)
    if missing := [name for name in NEEDED if name not in summary]:
        raise SettingError("RUN_DIR", str(folder), f"its {SUMMARY} does not state {', '.join(missing)}")
    return folder, settings, summary


def _load(folder: Folder, name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
    content = folder.read(name)
    if content is None:
        error = UnfinishedError if name == SUMMARY else SettingError
        raise error("RUN_DIR", str(folder), f"must be the folder of a finished run; it has no {name}")
    try:
        return dict(parse(content.decode()))
    except (ValueError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingError("RUN_DIR", str(folder), f"its {name} cannot be read: {reason}") from error


def typed(settings: dict[str, Any]) -> ExperimentConfig:
    """The configuration that a config.yaml states, with the defaults of what it does not.

    Raises:
        OmegaConfBaseException: if it states what no configuration has.
    """
    merged = OmegaConf.merge(OmegaConf.structured(ExperimentConfig), OmegaConf.create(settings))
    return cast(ExperimentConfig, OmegaConf.to_object(merged))


def finished(places: Sequence[str], read: Callable[[str], R]) -> list[R]:
    """What can be read of these directories, in their order.

    Unfinished runs are left out, and stderr says which: they must not hide the others.

    Raises:
        UnfinishedError: if none is finished.
        SettingError: if one is not the directory of a run.
    """
    found, unfinished = [], []
    for place in places:
        try:
            found.append(read(place))
        except UnfinishedError as error:
            unfinished.append(error)
    if not found and unfinished:
        raise unfinished[0]
    for error in unfinished:
        print(f"left out: {error}", file=sys.stderr)
    return found


def read_runs(places: Sequence[str]) -> list[Run]:
    """The finished ones among the runs in these directories, as `finished` reads them."""
    return finished(places, read_run)


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Arguments that every analysis of runs has."""
    found = argparse.ArgumentParser(
        prog=f"python -m analysis.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "runs",
        nargs="+",
        metavar="RUN_DIR",
        help="directory of a finished run, local or a URI; unfinished ones are left out",
    )
    found.add_argument("--out", default="figures", metavar="FOLDER", help="where to write (default: %(default)s)")
    return found
