"""From conf/, or from the config.yaml of a run, and overrides to a plain configuration dataclass."""

import dataclasses
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

import yaml

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
        OmegaConf.set_struct(node.runtime.tier_labels, False)  # of which any number may be a key
    return node


def check_syntax(overrides: list[str]) -> None:
    """Refuse overrides that break Hydra's grammar.

    Raises:
        SettingError: for the first one.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        if "=" not in override and not override.startswith("~"):
            raise SettingError(override, "", "has no value; write SETTING=VALUE")
        try:
            parser.parse_override(override)
        except HydraException as error:
            raise _explain(error, [override]) from error


def _compose(name: str, overrides: list[str]) -> Any:
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    check_syntax(overrides)
    try:
        return OmegaConf.to_object(hydra_compose(name, overrides=overrides))
    except Exception as error:  # Hydra's own kinds, OmegaConf's, and for null in place of a name ValueError
        raise _explain(error, overrides) from error


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
        raise SettingError(_OPTION, config, _reason(error)) from error
    node["run_dir"] = yaml.safe_load((conf_dir() / "config.yaml").read_text(encoding="utf-8"))["run_dir"]
    ConfigStore.instance().store("recomposed", node=node)
    with initialize(config_path=None, version_base="1.3"):
        return cast(C, _compose("recomposed", overrides))


def _refuse_groups(overrides: list[str]) -> None:
    """Refuse choices of whole groups: what they replace would be a guess."""
    groups = {folder.name for folder in conf_dir().iterdir() if folder.is_dir()}
    for override in overrides:
        name, _, value = override.lstrip("+~").partition("=")
        if name in groups:
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
    """The same settings, in whose texts OmegaConf sees no interpolation: they are resolved already."""
    if isinstance(value, dict):
        return {name: _literal(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _explain(error: Exception, overrides: list[str]) -> SettingError:
    """One line from Hydra's chain of errors, with the override it is about."""
    reason = _reason(error)
    longest_first = sorted(overrides, key=len, reverse=True)  # `dataset` is part of many reasons
    for override in sorted(longest_first, key=lambda candidate: candidate not in reason):
        key, _, value = override.partition("=")
        if key.lstrip("+~") in reason or len(overrides) == 1:
            return SettingError(key, value, reason)
    return SettingError("configuration", " ".join(overrides), reason)


def _reason(error: BaseException) -> str:
    """What an error and those that it came from say, in one line."""
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(" ".join(str(cause).split("Config search path")[0].split()))
        cause = cause.__cause__
    return "; ".join(reason for reason in dict.fromkeys(reasons) if reason not in ("", "None"))
