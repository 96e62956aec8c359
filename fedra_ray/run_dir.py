"""The run directory: written once, taken up again after an interruption, never overwritten."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fedra_ray import results
from fedra_ray.config import ExperimentConfig
from fedra_ray.errors import SettingError

CONFIG = "config.yaml"
#: Settings that never change a result; a run may be taken up again with others.
_FREE = ("runtime.", "run_dir", "checkpoint.")


def claim(run_dir: Path, config: ExperimentConfig) -> dict[str, Any] | None:
    """Check that the experiment may use the directory; returns its summary if it has already finished there.

    Raises:
        SettingError: if the directory holds a run of another configuration, or something else.
    """
    path = run_dir / CONFIG
    if path.exists():
        found = dict(_flat(yaml.safe_load(path.read_text(encoding="utf-8"))))
        wanted = dict(_flat(dataclasses.asdict(config)))
        for setting in wanted | found:
            if found.get(setting) != wanted.get(setting) and not setting.startswith(_FREE):
                allowed = f"{run_dir} holds a run with {setting}={found.get(setting)}; choose another run_dir"
                raise SettingError(setting, wanted.get(setting), allowed)
        return results.read(run_dir)
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise SettingError("run_dir", run_dir, "holds other files; name a new or empty folder")
    return None


def prepare(run_dir: Path, config: ExperimentConfig) -> None:
    """Make the directory and write the resolved configuration, enough to repeat the run."""
    run_dir.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)
    part = run_dir / f".{CONFIG}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(run_dir / CONFIG)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
