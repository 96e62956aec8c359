"""From conf/ and the overrides of a command line to a plain configuration dataclass. Hydra is imported when needed."""

from pathlib import Path
from typing import TypeVar, cast

from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import conf_dir

T = TypeVar("T")


def compose(name: str, schema: type[T], overrides: list[str], folder: Path | None = None) -> T:
    """The configuration conf/NAME.yaml with overrides, as a plain dataclass.

    Args:
        name: Of the YAML file.
        schema: Dataclass that declares its settings.
        overrides: As on the command line, SETTING=VALUE.
        folder: Where the YAML files are; None for conf/.

    Raises:
        SettingError: for an unknown setting or option group, or a value of the wrong type.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    check_syntax(overrides)
    ConfigStore.instance().store(f"{name}_schema", node=schema)
    try:
        with initialize_config_dir(str((folder or conf_dir()).absolute()), version_base="1.3"):
            composed = hydra_compose(name, overrides=overrides)
        return cast(T, OmegaConf.to_object(composed))
    except Exception as error:  # Hydra's own kinds, OmegaConf's, and for null in place of a name ValueError
        raise _explain(error, overrides) from error


def check_syntax(overrides: list[str]) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        try:
            parser.parse_override(override)
        except HydraException as error:
            raise _explain(error, [override]) from error


def _explain(error: Exception, overrides: list[str]) -> SettingError:
    """One line from Hydra's chain of errors, with the override it is about."""
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(" ".join(str(cause).split("Config search path")[0].split()))
        cause = cause.__cause__
    reason = "; ".join(each for each in dict.fromkeys(reasons) if each not in ("", "None"))
    longest_first = sorted(overrides, key=len, reverse=True)  # `dataset` is part of many reasons
    for override in sorted(longest_first, key=lambda each: each not in reason):
        key, _, value = override.partition("=")
        if key.lstrip("+~") in reason or len(overrides) == 1:
            return SettingError(key, value, reason)
    return SettingError("configuration", " ".join(overrides), reason)
