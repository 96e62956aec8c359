"""Runs as the analyses read them: from run directories, local or URIs, without touching them."""

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.numpy import load

from fedra_ray.cli.compose import schema_node
from fedra_ray.config.errors import SettingError
from fedra_ray.config.labels import method_label
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.claim import SETTING, SUMMARY, flat
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.reading import FinishedRun, UnfinishedError, read_finished

R = TypeVar("R")

#: Names that a summary.json must have.
NEEDED = ("method", "dataset", "backbone", "seed", "rounds", "split", "accuracy", "mean_accuracy")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        files: What it has written into its folder.
        config: Its configuration.
        summary: The content of its summary.json.
    """

    files: FinishedRun
    config: ExperimentConfig
    summary: dict[str, Any]

    @property
    def folder(self) -> Folder:
        """Its directory."""
        return self.files.folder

    @property
    def settings(self) -> dict[str, Any]:
        """Its configuration by dotted name."""
        return dict(flat(dataclasses.asdict(self.config)))

    @property
    def label(self) -> str:
        """The method's name as its paper writes it, with the optimisers around it."""
        return method_label(self.settings)

    @property
    def fleet(self) -> str:
        """Depths of the clients, the largest first, in the same proportions and as few as possible."""
        depths, dynamic = self.config.fleet.depths, self.config.fleet.dynamic
        if dynamic:
            return f"{' '.join(map(str, depths))}, dynamic"
        if len(set(depths)) == 1:
            return f"all {depths[0]}"
        counts = Counter(depths)
        divisor = math.gcd(*counts.values())
        return " ".join(str(depth) for depth in sorted(counts, reverse=True) for _ in range(counts[depth] // divisor))

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
        """Number of classes of the head in the saved adapter.

        Raises:
            SettingError: if there is none.
        """
        content = self.folder.below("adapter").read("adapter_model.safetensors")
        if content is None:
            raise SettingError(SETTING, str(self.folder), "has no adapter; name the directory of a finished run")
        return len(load(content)["base_model.model.head.bias"])

    @cached_property
    def saved_rounds(self) -> list[int]:
        """Numbers of the rounds whose global adapter is kept, ascending."""
        return checkpoint.saved_rounds(self.folder)

    def table(self, name: str) -> pd.DataFrame:
        """One of its Parquet tables: rounds, clients, evaluations, partition or skipped.

        Raises:
            SettingError: if it is missing or damaged.
        """
        return self.files.table(name).to_pandas()


def read_run(where: str) -> Run:
    """The finished run in a directory, a path or a URI.

    Raises:
        SettingError: if there is none, or one of another version.
    """
    files = measured(where)
    try:
        return Run(files, typed(files.config), files.summary)
    except OmegaConfBaseException as error:
        raise SettingError(SETTING, where, f"is a run of another version: {str(error).splitlines()[0]}") from error


def measured(where: str | Path) -> FinishedRun:
    """The finished run in a directory, a path or a URI, whose summary states what an analysis needs.

    Raises:
        UnfinishedError: if the run has no summary.json yet.
        SettingError: if it is not the directory of a run, or its files are damaged.
    """
    run = read_finished(Folder(where, SETTING))
    if missing := [name for name in NEEDED if name not in run.summary]:
        raise SettingError(SETTING, str(run.folder), f"its {SUMMARY} does not state {', '.join(missing)}")
    return run


def typed(settings: dict[str, Any]) -> ExperimentConfig:
    """The configuration that a config.yaml states, with the defaults of what it does not.

    Raises:
        OmegaConfBaseException: if it states what no configuration has.
    """
    merged = OmegaConf.merge(schema_node(ExperimentConfig), OmegaConf.create(settings))
    return cast(ExperimentConfig, OmegaConf.to_object(merged))


def finished(places: Sequence[str], read: Callable[[str], R]) -> list[R]:
    """What can be read of these directories, in their order.

    Unfinished runs are left out, and stderr says which: they must not hide the others.

    Raises:
        UnfinishedError: if none is finished.
        SettingError: if one is not the directory of a run.
    """
    runs, unfinished = [], []
    for place in places:
        try:
            runs.append(read(place))
        except UnfinishedError as error:
            unfinished.append(error)
    if not runs and unfinished:
        raise unfinished[0]
    for error in unfinished:
        print(f"left out: {error}", file=sys.stderr)
    return runs


def read_runs(places: Sequence[str]) -> list[Run]:
    """The finished ones among the runs in these directories, as `finished` reads them."""
    return finished(places, read_run)
