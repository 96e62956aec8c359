"""The command line that repeats a run, from its resolved configuration."""

import dataclasses
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from fedra_ray.config.paths import conf_dir
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.claim import FREE, flat

Settings = dict[str, Any]

_GROUPS = ("method", "dataset", "backbone", "fleet", "partition")  # in the order of conf/config.yaml
_GLOBAL = "# @package _global_"  # a file whose settings begin at the root
_PLAIN = re.compile(r"[A-Za-z/_][\w./:@-]*", re.ASCII)  # text that needs no quotes in an override
_WORDS = ("null", "true", "false", "inf", "nan")


def command(settings: Mapping[str, Any]) -> str:
    """A shell command of a run with the same result, in a folder beside that of the first.

    Args:
        settings: The whole configuration by dotted name. Those that never change a result are left out.
    """
    again = f"run_dir={_value(str(settings['run_dir']).rstrip('/') + '-again')}"
    return shlex.join(["fedra-ray", *overrides(settings), again])


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """The choices and overrides of conf/config.yaml that lead to these settings, but for those that never matter."""
    deciding = _deciding(settings)
    top = yaml.safe_load((conf_dir() / "config.yaml").read_text(encoding="utf-8"))
    usual = {name: option for each in top.pop("defaults") if isinstance(each, dict) for name, option in each.items()}
    chosen = {group: str(usual[group]) for group in _GROUPS}
    options = {group: dict(_options(group)) for group in _GROUPS}

    def differences(choice: Mapping[str, str]) -> list[str]:
        base = dict(flat(dataclasses.asdict(ExperimentConfig())))
        for group, option in choice.items():
            base |= options[group][option]
        return list(_differences(_deciding(base | dict(flat(top))), deciding))

    for group in _GROUPS:
        candidates = [chosen | {group: option} for option in (chosen[group], *options[group])]
        chosen = min(
            candidates, key=lambda choice: len(differences(choice))
        )  # the usual one where others are no better
    choices = [f"{group}={option}" for group, option in chosen.items() if option != usual[group]]
    return [*choices, *differences(chosen)]


def _deciding(settings: Mapping[str, Any]) -> Settings:
    return {name: value for name, value in settings.items() if not name.startswith(FREE)}


def _options(group: str) -> Iterator[tuple[str, Settings]]:
    """The files of a group: their names, and their settings by dotted name."""
    for path in sorted((conf_dir() / group).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
        yield path.stem, dict(flat(found if text.startswith(_GLOBAL) else {group: found}))


def _differences(base: Settings, wanted: Settings) -> Iterator[str]:
    """Overrides that lead from a composed configuration to another."""
    yield from (f"~{name}" for name in base if name not in wanted)
    tables: dict[str, dict[str, Settings]] = defaultdict(lambda: defaultdict(dict))
    for name, value in wanted.items():
        parts = name.split(".", 3)
        if name in base:
            if base[name] != value:
                yield f"{name}={_value(value)}"
        elif len(parts) < 4:
            yield f"++{name}={_value(value)}"
        else:  # fleet.profiles.NAME.gflops: such an entry is only taken whole
            tables[".".join(parts[:2])][parts[2]][parts[3]] = value
    yield from (f"++{name}={_value(table)}" for name, table in tables.items())


def _value(value: Any) -> str:
    """A value in the grammar of overrides."""
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_value(name)}:{_value(inner)}" for name, inner in value.items()) + "}"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"
