"""Runs in groups that differ in nothing but the seed: their names, their tables, and means with confidence intervals.

Every table of an analysis begins with the columns of `KEY`: the run's folder, its label, its fleet and its seed. The
label is `Run.label`, with the settings that tell it from other runs of the same label and fleet; the fleet is
`Run.fleet`, so that every seed may deal the depths to the domains in another order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from analysis.runs.intervals import CONFIDENCE
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import conf_dir
from fedra_ray.config.schema import MethodConfig
from fedra_ray.run_dir.claim import SETTING, shaping
from fedra_ray.run_dir.reading import apart

GROUP = ["label", "fleet"]
KEY = ["run", *GROUP, "seed"]


def labels(runs: Sequence[Run]) -> list[str]:
    """The label of each run, alike for those that differ only in their seed and in who has which depth.

    Raises:
        SettingError: if two are the same, seed included.
    """
    settings = [shaping(run.settings) for run in runs]
    extended: list[str] = []
    seen: dict[tuple[str, str, int], Run] = {}
    for run, own in zip(runs, settings, strict=True):
        rivals = [other for rival, other in zip(runs, settings, strict=True) if _group(rival) == _group(run)]
        told = ["fleet.depths", *_usual_options(run.config.method)]
        names = (text.removeprefix("method.options.") for text in apart(own, rivals, told))
        label = ", ".join([run.label, *names])
        key = label, run.fleet, run.config.seed
        if key in seen:
            allowed = f"is the same run as {seen[key].folder}, seed included; name one"
            raise SettingError(SETTING, str(run.folder), allowed)
        seen[key] = run
        extended.append(label)
    return extended


def collect(runs: Sequence[Run], of_run: Callable[[Run], pd.DataFrame | Iterable[Mapping[str, Any]]]) -> pd.DataFrame:
    """One table of all runs.

    Args:
        runs: The runs.
        of_run: Makes the rows of one run, as a table or one by one.

    Returns:
        The rows of all runs, the columns of `KEY` before their own.

    Raises:
        SettingError: if two of the runs are the same, seed included.
    """
    parts = []
    for run, label in zip(runs, labels(runs), strict=True):
        part = pd.DataFrame(of_run(run))
        for position, value in enumerate((str(run.folder), label, run.fleet, run.config.seed)):
            part.insert(position, KEY[position], value)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def over_seeds(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean and sample deviation of a column in groups of rows, one row per seed.

    Returns:
        The columns of `by`, then n (values that are there), mean, deviation, and low and high: Student's interval of
        the mean at 95 %, n - 1 degrees of freedom. Deviation and interval are empty where n is 1.
    """
    grouped = table.groupby(list(by), sort=False, dropna=False)[value]
    result = grouped.agg(n="count", mean="mean", deviation="std").reset_index()
    half = stats.t.ppf((1 + CONFIDENCE) / 2, result["n"] - 1) * result["deviation"] / np.sqrt(result["n"])
    return result.assign(low=result["mean"] - half, high=result["mean"] + half)


def _group(run: Run) -> tuple[str, str]:
    return run.label, run.fleet


def _usual_options(method: MethodConfig) -> list[str]:
    """Options of a shipped method that have the value of conf/method/NAME.yaml, which its name implies."""
    path = conf_dir() / "method" / f"{method.name}.yaml"
    usual = yaml.safe_load(path.read_text(encoding="utf-8")).get("options", {}) if path.is_file() else {}
    return [f"method.options.{name}" for name, value in usual.items() if method.options.get(name) == value]
