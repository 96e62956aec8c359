"""The one reader of a run's folder: its configuration, its summary, its tables, and what it is called."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import yaml

from fedra_ray.config.errors import SettingError, one_line
from fedra_ray.run_dir.claim import CONFIG, SETTING, SUMMARY, flat, read_summary
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import read_table


class UnfinishedError(SettingError):
    """A folder whose run has not come to its end."""


@dataclass(frozen=True)
class RunFiles:
    """What a run has written into its folder.

    Attributes:
        folder: The folder.
        text: The text of config.yaml.
        config: The same as nested mappings.
        summary: What summary.json states; None until the run has finished.
    """

    folder: Folder
    text: str
    config: dict[str, Any]
    summary: dict[str, Any] | None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration by dotted name."""
        return dict(flat(self.config))

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The table NAME.parquet, or columns of it, which then have the types of `records.SCHEMAS`.

        Raises:
            SettingError: if it is missing or damaged, lacks a column, or has one of another type.
        """
        with checked(self.folder, f"{name}.parquet"):
            return read_table(self.folder, name, columns)


@dataclass(frozen=True)
class FinishedRun(RunFiles):
    """What a finished run has written into its folder."""

    summary: dict[str, Any]


#: What reading a file raises whose content is not what it should be.
_DAMAGE = (
    *(yaml.YAMLError, pa.ArrowException, OSError, RecursionError),
    *(LookupError, AttributeError, TypeError, ValueError),
)


@contextmanager
def checked(folder: Folder, name: str) -> Iterator[None]:
    """Say what is wrong with a file of a run in one line, whatever its content makes a reader raise.

    Raises:
        SettingError: in place of what was raised inside.
    """
    try:
        yield
    except (
        yaml.YAMLError,
        pa.ArrowException,
        OSError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        if isinstance(error, SettingError):
            raise
        reason = one_line(f"{type(error).__name__}: {error}")
        raise SettingError(SETTING, str(folder), f"its {name} is damaged, or not that of a run ({reason})") from error


def read_files(folder: Folder) -> RunFiles:
    """Read the configuration and the summary of a run, finished or not.

    Raises:
        SettingError: if the folder holds no run, or files that cannot be those of one.
    """
    text, config = _config(folder, "run")
    with checked(folder, SUMMARY):
        summary = read_summary(folder)
        return RunFiles(folder, text, config, None if summary is None else _mapping(summary))


def read_finished(folder: Folder, summary: dict[str, Any] | None = None) -> FinishedRun:
    """Read the configuration and the summary of a finished run.

    Args:
        folder: Its folder.
        summary: What is to become its summary.json; None reads that file.

    Raises:
        UnfinishedError: if the run has not finished.
        SettingError: if the folder holds no run, or files that cannot be those of one.
    """
    text, config = _config(folder, "finished run")
    with checked(folder, SUMMARY):
        stated = summary or read_summary(folder)
        if stated is None:
            allowed = f"holds no finished run: there is no {SUMMARY}; `fedra-ray status` tells where a run is"
            raise UnfinishedError(SETTING, str(folder), allowed)
        return FinishedRun(folder, text, config, _mapping(stated))


def apart(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]], shown: Collection[str]) -> list[str]:
    """The settings in which a run differs from any of the others, as NAME=VALUE.

    Of two methods, data sets or backbones the names tell: further settings of theirs count among runs of one name.

    Args:
        own: Those of the run that may tell it apart, by dotted name.
        others: The settings of the other runs.
        shown: Settings that are told elsewhere.
    """
    different = []
    for name, value in own.items():
        named = f"{name.partition('.')[0]}.name"
        alike = [other for other in others if name == named or other.get(named) == own.get(named)]
        if name not in shown and any(other.get(name) != value for other in alike):
            different.append(f"{name}={value if isinstance(value, str) else json.dumps(value, default=str)}")
    return different


def _config(folder: Folder, kind: str) -> tuple[str, dict[str, Any]]:
    """The text of config.yaml and what it states."""
    try:
        folder.names()
    except NotADirectoryError as error:
        raise SettingError(SETTING, str(folder), f"is a file; name the folder of a {kind}") from error
    with checked(folder, CONFIG):
        content = folder.read(CONFIG)
        if content is None:
            raise SettingError(SETTING, str(folder), f"holds no {kind}: there is no {CONFIG}")
        text = content.decode()
        return text, _mapping(yaml.safe_load(text))


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise TypeError(f"a {type(content).__name__} where a mapping belongs")
    return content
