"""Classes named in the configuration: a method or data set of this package or of the user's own."""

import importlib
import inspect
from typing import Any, TypeVar, get_type_hints

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.config.validation import check_type

T = TypeVar("T")


def instantiate(target: str, setting: str, kind: type[T], arguments: dict[str, Any], advice: str = "") -> T:
    """Make the object that `setting`.target names, a subclass of `kind`, with these keyword arguments.

    Args:
        target: Dotted path of the class.
        setting: The section that names it.
        kind: What it must be.
        arguments: Keyword arguments.
        advice: What else to do if it is of another kind, for the message.

    Raises:
        SettingError: if there is no such class, it is of another kind, it does not take these arguments, or fails.
    """
    plugin = _imported(target, f"{setting}.target")
    if not (inspect.isclass(plugin) and issubclass(plugin, kind)) or inspect.isabstract(plugin):
        allowed = f"must be a subclass of {kind.__module__}.{kind.__name__}{advice}"
        raise SettingError(f"{setting}.target", target, allowed)
    _check_arguments(plugin, setting, arguments)
    try:
        return plugin(**arguments)
    except (SettingError, RunFailedError):
        raise
    except Exception as error:  # a class of the user's own may raise anything
        raise SettingError(f"{setting}.target", target, f"cannot be made: {_described(error)}") from error


def option_defaults(target: str, setting: str) -> dict[str, Any]:
    """The options that `setting`.target may be made without, and what they are then.

    Raises:
        SettingError: if there is no such class.
    """
    accepted = inspect.signature(_imported(target, f"{setting}.target")).parameters
    return {name: each.default for name, each in accepted.items() if each.default is not each.empty}


def _imported(target: str, setting: str) -> Any:
    module_name, _, class_name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise SettingError(setting, target, f"cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # a module runs when it is imported, and may do anything
        raise SettingError(setting, target, f"cannot be imported: {_described(error)}") from error


def _check_arguments(plugin: type, setting: str, arguments: dict[str, Any]) -> None:
    accepted = inspect.signature(plugin).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    hints = _annotations(plugin)
    for name, value in arguments.items():
        if name in accepted:
            check_type(f"{setting}.options.{name}", value, hints.get(name))
        elif not takes_any:
            raise SettingError(f"{setting}.options.{name}", value, _unknown(plugin, setting, name))
    for name, parameter in accepted.items():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if name not in arguments and parameter.default is parameter.empty and not variable:
            raise SettingError(f"{setting}.options.{name}", None, f"{plugin.__name__} needs this option")


def _unknown(plugin: type, setting: str, option: str) -> str:
    """Why an option is refused: it may belong to the class of a YAML file, of which only the target was replaced."""
    own = f"conf/{setting}/NAME.yaml and {setting}=NAME for a class of its own"
    return f"{plugin.__name__} has no such option; leave it out by ~{setting}.options.{option}, or write {own}"


def _annotations(plugin: type) -> dict[str, Any]:
    try:
        return get_type_hints(plugin.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # a name that exists for type checkers alone
        return {}


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
