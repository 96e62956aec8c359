"""Classes named in the configuration: a method or data set of this package or of the user's own."""

import importlib
import inspect
from typing import Any, TypeVar

from fedra_ray.errors import SettingError

T = TypeVar("T")


def instantiate(target: str, setting: str, kind: type[T], arguments: dict[str, Any]) -> T:
    """Make the object that `setting`.target names, a subclass of `kind`, with these keyword arguments.

    Raises:
        SettingError: if there is no such class, it is of another kind, or it does not take these arguments.
    """
    module_name, _, class_name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(f"{setting}.target", target, f"cannot be imported: {error}") from error
    if not (inspect.isclass(found) and issubclass(found, kind)) or inspect.isabstract(found):
        raise SettingError(f"{setting}.target", target, f"must be a subclass of {kind.__module__}.{kind.__name__}")
    accepted = inspect.signature(found).parameters
    for name, value in arguments.items():
        if name not in accepted:
            raise SettingError(f"{setting}.options.{name}", value, f"{class_name} has no such option")
    for name, parameter in accepted.items():
        if name not in arguments and parameter.default is parameter.empty:
            raise SettingError(f"{setting}.options.{name}", None, f"{class_name} needs this option")
    try:
        return found(**arguments)
    except TypeError as error:
        given = {name: value for name, value in arguments.items() if value is not None}
        raise SettingError(f"{setting}.options", given, f"{class_name} takes no such value: {error}") from error
