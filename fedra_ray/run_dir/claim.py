"""The run directory: written once, taken up again after an interruption, never overwritten."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import option_defaults
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.lease import Lease, is_lease

SETTING = "RUN_DIR"  # what names such a folder in errors
CONFIG = "config.yaml"
SUMMARY = "summary.json"
PARTITION = "partition.parquet"
#: Settings that never change a result; a run may be taken up again with others.
FREE = ("runtime.", "run_dir", "checkpoint.", "resume", "dataset.cache", "dataset.memory_mb", "watch.")
_ELSEWHERE = (
    *FREE,
    *("seed", "evaluation.every", "evaluation.batch_size"),
    *("dataset.root", "backbone.checkpoint", "backbone.pretrained"),
)
_DEVICES = ("fleet.devices", "fleet.profiles.")  # times on them decide nothing but who is too late


@dataclass(frozen=True)
class Claim:
    """What a run directory is to an experiment.

    Attributes:
        finished: The summary, if the experiment has already finished there; nothing may be written then.
        lease: Otherwise this process's right to write there.
    """

    finished: dict[str, Any] | None
    lease: Lease | None

    @property
    def lease_name(self) -> str | None:
        """Name of the lease, by which other processes of this one tell whether they may still write."""
        return None if self.lease is None else self.lease.name

    def release(self) -> None:
        """Let go of the directory."""
        if self.lease is not None:
            self.lease.release()


def claim(folder: Folder, config: ExperimentConfig) -> Claim:
    """Check that the experiment may use the directory, and take hold of it unless the experiment has finished there.

    Raises:
        SettingError: if the directory holds a run of another configuration, or something else, or if another process
            is using it.
        RunFailedError: if nothing can be written there.
    """
    finished = _check(folder, config)
    if finished is not None:
        return Claim(finished, None)
    lease = Lease(folder)
    try:
        finished = _check(folder, config)  # what another process may have left there in the meantime
    except BaseException:
        lease.release()
        raise
    if finished is None:
        return Claim(None, lease)
    lease.release()
    return Claim(finished, None)


def _check(folder: Folder, config: ExperimentConfig) -> dict[str, Any] | None:
    """Refuse a directory that holds something else; returns the summary if the experiment has finished there."""
    try:
        names = [name for name in folder.names() if not is_lease(name)]
    except NotADirectoryError as error:
        raise SettingError("run_dir", str(folder), "is a file; name a new or empty folder") from error
    if CONFIG not in names:
        if names:
            raise SettingError("run_dir", str(folder), "holds other files; name a new or empty folder")
        return None
    finished = read_summary(folder)
    if finished is not None or config.resume != "force":
        _compare(folder, config, finished is not None)
    return finished


def prepare(folder: Folder, config: ExperimentConfig) -> None:
    """Write the resolved configuration, enough to repeat the run."""
    folder.write(CONFIG, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False).encode())


def read_summary(folder: Folder) -> dict[str, Any] | None:
    """The summary of a finished run, or None."""
    content = folder.read(SUMMARY)
    return None if content is None else json.loads(content)


def _compare(folder: Folder, config: ExperimentConfig, finished: bool) -> None:
    """Refuse a configuration that differs from the one in the folder in what decides the result.

    A setting that one of them lacks has its default: a run of an older version does not name those that came later.
    """
    found = dict(flat(yaml.safe_load(folder.read(CONFIG) or b"")))
    wanted = dict(flat(dataclasses.asdict(config)))
    usual = _defaults(config)
    for setting in wanted | found:
        before, now = (settings.get(setting, usual.get(setting)) for settings in (found, wanted))
        if before != now and not setting.startswith(FREE):
            way_out = "choose another run_dir" + ("" if finished else ", or go on with the new value by resume=force")
            raise SettingError(setting, now, f"{folder} holds a run with {setting}={before}; {way_out}")


def _defaults(config: ExperimentConfig) -> dict[str, Any]:
    """Every setting's default: the schema's, and for options that of the class which takes them."""
    usual = {name: value for name, value in flat(dataclasses.asdict(ExperimentConfig())) if ".options." not in name}
    for section, settings in dataclasses.asdict(config).items():
        if isinstance(settings, dict) and "options" in settings and settings["target"] is not None:
            options = option_defaults(settings["target"], section)
            usual |= {f"{section}.options.{name}": value for name, value in options.items()}
    return usual


def shaping(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the flat settings of a run that shape its result: all but which run it is, and where and how it ran."""
    free = _ELSEWHERE if settings.get("fleet.round_deadline") else _ELSEWHERE + _DEVICES
    return {name: value for name, value in settings.items() if not name.startswith(free)}


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name, and their values."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value  # keys of runtime.tier_labels are numbers
