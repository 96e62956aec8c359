"""Runs as the analyses read them: from run directories, local or URIs, without touching them."""

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedra_ray import checkpoint
from fedra_ray.config import ExperimentConfig
from fedra_ray.errors import SettingError
from fedra_ray.report.names import method_label
from fedra_ray.run_dir import CONFIG, read_summary
from fedra_ray.storage import Folder


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
        return method_label(self.config.method.name, self.config.allocation.draw)

    @property
    def domains(self) -> list[str]:
        """Names of the domains, in their order."""
        return list(self.summary["accuracy"])

    @property
    def num_layers(self) -> int:
        """Layers of the full model."""
        return len(self.table("rounds")["layer_holders"].iloc[0])

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
        SettingError: if there is none.
    """
    folder = Folder(where, "RUN_DIR")
    written, summary = folder.read(CONFIG), read_summary(folder)
    if written is None or summary is None:
        raise SettingError("RUN_DIR", where, "is not the directory of a finished run: config.yaml and summary.json")
    try:
        return Run(folder, parse_config(written.decode()), summary)
    except OmegaConfBaseException as error:
        raise SettingError("RUN_DIR", where, f"is a run of another version: {str(error).splitlines()[0]}") from error


def parse_config(text: str) -> ExperimentConfig:
    """The configuration of a config.yaml."""
    merged = OmegaConf.merge(OmegaConf.structured(ExperimentConfig), OmegaConf.create(text))
    return cast(ExperimentConfig, OmegaConf.to_object(merged))


def read_runs(places: Sequence[str]) -> list[Run]:
    """The runs in these directories, in their order."""
    return [read_run(place) for place in places]


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Arguments that every analysis of runs has."""
    found = argparse.ArgumentParser(
        prog=f"python -m analysis.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("runs", nargs="+", metavar="RUN_DIR", help="directory of a finished run, local or a URI")
    found.add_argument("--out", default="figures", metavar="FOLDER", help="where to write (default: %(default)s)")
    return found
