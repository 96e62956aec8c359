"""Several runs side by side: which differ only in their seed, what tells the others apart, and which is ahead."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import WRAPPERS
from fedra_ray.report.facts import Facts
from fedra_ray.run_dir.claim import SETTING, shaping
from fedra_ray.run_dir.reading import apart

_TOLD = tuple(  # by the label of a run's method
    f"{part}.{name}" for part in ("method", *WRAPPERS) for name in ("name", "label", "target")
)
_SHORT = 16  # letters of a setting that may be part of a name


@dataclass(frozen=True)
class Measure:
    """An accuracy from 0 to 1 and, of several runs, its sample standard deviation."""

    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, and in which domain has which of the depths.

    Attributes:
        label: Method, with what tells it from groups of the same method.
        apart: Every setting that tells it from the other groups, as SETTING=VALUE.
        runs: By seed.
    """

    label: str
    apart: list[str]
    runs: list[Facts]

    @property
    def board(self) -> tuple[str, str]:
        """The data set and split: accuracies can be compared where they are the same."""
        return self.runs[0].dataset, self.runs[0].split

    @property
    def mean(self) -> Measure:
        """Mean accuracy over domains."""
        return _measure([run.mean for run in self.runs])

    def accuracy(self, domain: str) -> Measure | None:
        """Accuracy on a domain; None if the data set has no such domain."""
        accuracies = [run.accuracy[domain] for run in self.runs if domain in run.accuracy]
        return _measure(accuracies) if accuracies else None

    def name(self, run: Facts) -> str:
        """The name of one of its runs; a single run has the group's name."""
        return f"{self.label}, seed {run.seed}" if len(self.runs) > 1 else self.label


def compare(runs: Sequence[Facts]) -> list[Group]:
    """The runs in groups, the best ones of each data set and split first.

    Raises:
        SettingError: if two of them are the same, seed included.
    """
    _check_differ(runs)
    alike: dict[str, list[Facts]] = defaultdict(list)
    for run in runs:
        settings = shaping(run.settings)
        if not settings.get("fleet.dynamic"):
            settings["fleet.depths"] = sorted(settings["fleet.depths"])
        alike[_key(settings)].append(run)
    groups = [Group(own[0].method, [], sorted(own, key=lambda run: run.seed)) for own in alike.values()]
    ordered = sorted(groups, key=lambda group: (group.board, -group.mean.mean))
    firsts = [group.runs[0] for group in ordered]
    return [
        Group(label, _apart(group.runs[0], firsts), group.runs)
        for label, group in zip(_labels(firsts), ordered, strict=True)
    ]


def boards(groups: Iterable[Group]) -> list[list[Group]]:
    """Groups by data set and split, in which they can be compared; best first."""
    by_board: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in groups:
        by_board[group.board].append(group)
    return list(by_board.values())


def _measure(values: Sequence[float]) -> Measure:
    return Measure(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _check_differ(runs: Iterable[Facts]) -> None:
    """Refuse a run that is named twice: means and deviations would be wrong."""
    known: dict[str, Facts] = {}
    for run in runs:
        other = known.setdefault(_key(shaping(run.settings) | {"seed": run.settings.get("seed")}), run)
        if other is not run:
            raise SettingError(SETTING, run.where, f"is the same run as {other.where}, seed included; name one")


def _apart(run: Facts, others: Sequence[Facts]) -> list[str]:
    """The settings that tell a run from others, but for those that its method's label tells."""
    return apart(shaping(run.settings), [other.settings for other in others], _TOLD)


def _labels(runs: Sequence[Facts]) -> list[str]:
    """A short name for each: its method; among runs of one method with their one short difference, or a number."""
    labels = []
    for place, run in enumerate(runs):
        alike = [other for other in runs if other.method == run.method]
        differences = [_shortened(_apart(other, alike)) for other in alike]
        own = _shortened(_apart(run, alike))
        if len(alike) == 1:
            labels.append(run.method)
        elif all(len(texts) == 1 and len(texts[0]) <= _SHORT for texts in differences):
            labels.append(f"{run.method}, {own[0]}")
        else:
            labels.append(f"{run.method} {1 + sum(other.method == run.method for other in runs[:place])}")
    return labels


def _shortened(settings: Iterable[str]) -> list[str]:
    """training.lr=0.1 as lr=0.1, and partition.name=iid as partition=iid."""
    texts = []
    for setting in settings:
        name, _, value = setting.partition("=")
        texts.append(f"{name.removesuffix('.name').rpartition('.')[2]}={value}")
    return texts
