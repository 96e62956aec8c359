"""From conf/, or from the config.yaml of a run, and overrides to a plain configuration dataclass."""

import dataclasses
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

import yaml

from fedra_ray.cli.choices import groups
from fedra_ray.cli.overrides import explain, parse_single, reason, value_text
from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import conf_dir, filesystem
from fedra_ray.config.schema import ExperimentConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")
C = TypeVar("C", bound=ExperimentConfig)

_OPTION = "--config"


def add_config_option(parser: ArgumentParser) -> None:
    """Declare --config, whose value `compose_experiment` takes."""
    parser.add_argument(_OPTION, metavar="RUN_DIR/config.yaml", help="start from the settings of a run: a path or URI")


def compose(*overrides: str) -> ExperimentConfig:
    """The configuration that the command line makes of these settings, for example `"method=depthfl", "rounds=10"`.

    Raises:
        SettingError: for an unknown setting or choice, or a value of the wrong type.
    """
    return compose_experiment(list(overrides))


def compose_experiment(overrides: list[str], config: str | None = None) -> ExperimentConfig:
    """An experiment, as `compose_as` has it."""
    return compose_as(ExperimentConfig, overrides, config)


def compose_as(schema: type[C], overrides: list[str], config: str | None = None) -> C:
    """An experiment: conf/config.yaml or the config.yaml of a run, with overrides on top.

    Args:
        schema: Dataclass of the experiment.
        overrides: As on the command line, SETTING=VALUE.
        config: Path or pyarrow.fs URI of the config.yaml of a run; None for conf/config.yaml.

    Raises:
        SettingError: for an unknown setting or option group, a value of the wrong type, or a file that is missing or
            not the configuration of a run.
    """
    return compose_named("config", schema, overrides) if config is None else _recompose(config, schema, overrides)


def compose_named(name: str, schema: type[T], overrides: list[str], folder: Path | None = None) -> T:
    """The configuration conf/NAME.yaml with overrides, as a plain dataclass.

    Args:
        name: Of the YAML file.
        schema: Dataclass that declares its settings.
        overrides: As on the command line, SETTING=VALUE.
        folder: Where the YAML files are; None for conf/.

    Raises:
        SettingError: for an unknown setting or option group, or a value of the wrong type.
    """
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(f"{name}_schema", node=schema_node(schema))
    with initialize_config_dir(str((folder or conf_dir()).absolute()), version_base="1.3"):
        return cast(T, _compose(name, overrides))


def schema_node(schema: type) -> "DictConfig":
    """The schema onto which Hydra merges the YAML files: every section with its own defaults.

    In the default experiment a section may have others. Their mappings, such as the arguments of its backbone, would
    stay below any other choice, since Hydra merges mappings rather than replacing them.
    """
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("min", min, replace=True)  # ${min:100,${fleet.num_clients}} in conf/
    node: DictConfig = OmegaConf.structured(schema)
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            node[name] = hint
    if "runtime" in node:
        for numbered in (node.runtime.tier_labels, node.lora.ranks):  # of which any number may be a key
            OmegaConf.set_struct(numbered, False)
    return node


def to_plain(node: "DictConfig") -> Any:
    """The dataclass of a composed configuration.

    Raises:
        SettingError: for a key that `+` has added and that is no setting.
    """
    from omegaconf import OmegaConf

    config = OmegaConf.to_object(node)
    for name, value in _undeclared(config):
        raise SettingError(f"+{name}", value, "is no setting; + is for keys of mappings such as method.options")
    return config


def _compose(name: str, overrides: list[str]) -> Any:
    from hydra import compose as hydra_compose

    parsed = parse_single(overrides)
    try:
        config = to_plain(hydra_compose(name, overrides=overrides))
    except SettingError:
        raise
    except Exception as error:  # Hydra's own kinds, OmegaConf's, and for null in place of a name ValueError
        raise explain(error, overrides) from error
    for item in parsed:
        if item.is_delete() and (item.key_or_group in groups() or _declared(config, item.key_or_group)):
            raise SettingError(item.get_key_element(), value_text(item), "cannot be removed; give it another value")
    return config


def _recompose(config: str, schema: type[C], overrides: list[str]) -> C:
    """The settings of a run's config.yaml with overrides on top; without run_dir= its folder is a new one."""
    from hydra import initialize
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    settings = _read(config)
    for name in _lacking(ExperimentConfig(), settings):
        raise SettingError(_OPTION, config, f"is not the whole configuration of a run: lacks {name}")
    _refuse_groups(overrides)
    try:
        node = cast(DictConfig, OmegaConf.merge(schema_node(schema), _literal(settings)))
        OmegaConf.to_object(node)
    except Exception as error:  # OmegaConf's own kinds, and Python's for values of strange types
        raise SettingError(_OPTION, config, reason(error)) from error
    node["run_dir"] = yaml.safe_load((conf_dir() / "config.yaml").read_text(encoding="utf-8"))["run_dir"]
    ConfigStore.instance().store("recomposed", node=node)
    with initialize(config_path=None, version_base="1.3"):
        return cast(C, _compose("recomposed", overrides))


def _refuse_groups(overrides: list[str]) -> None:
    """Refuse choices of whole groups: what they replace would be a guess."""
    for override in overrides:
        name, _, value = override.lstrip("+~").partition("=")
        if name.partition("@")[0] in groups():
            allowed = f"cannot be chosen on top of {_OPTION}; override single settings, such as training.lr=0.1"
            raise SettingError(name, value, allowed)


def _read(config: str) -> dict[str, Any]:
    """The content of a config.yaml."""
    from pyarrow import fs

    system, path = filesystem(_OPTION, config)
    try:
        if system.get_file_info(path).type != fs.FileType.File:
            raise SettingError(_OPTION, config, "no such file; name the config.yaml of a run")
        with system.open_input_stream(path) as stream:
            content = yaml.safe_load(stream.read())
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as error:
        raise SettingError(_OPTION, config, f"cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SettingError(_OPTION, config, "is not the configuration of a run")
    return content


def _undeclared(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What a configuration holds beside the fields of its dataclasses, by dotted name."""
    declared = {field.name for field in dataclasses.fields(config)}
    for name, value in vars(config).items():
        if name not in declared:
            yield prefix + name, value
        inner = {f"{name}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}
        for key, entry in inner.items():
            if dataclasses.is_dataclass(entry):
                yield from _undeclared(entry, f"{prefix}{key}.")


def _declared(config: Any, name: str) -> bool:
    """Whether a dotted name is that of a field, not of a key in a mapping."""
    *above, last = name.split(".")
    for part in above:
        config = getattr(config, part, None)
    return dataclasses.is_dataclass(config) and last in {field.name for field in dataclasses.fields(config)}


def _lacking(default: Any, settings: Any, prefix: str = "") -> Iterator[str]:
    """The settings of a dataclass that are not given."""
    given = settings if isinstance(settings, dict) else {}
    for field in dataclasses.fields(default):
        value = getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            yield from _lacking(value, given.get(field.name), f"{prefix}{field.name}.")
        elif field.name not in given:
            yield prefix + field.name


def _literal(value: Any) -> Any:
    """The same settings, in whose texts OmegaConf sees no interpolation: they are resolved already.

    Raises:
        ValueError: for the one text that it cannot hold.
    """
    if value == "???":
        raise ValueError("??? stands for a value that is missing")
    if isinstance(value, dict):
        return {name: _literal(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value
