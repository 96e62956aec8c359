"""Whether values from outside have their declared type, keep within their bounds, and are of a sane size."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from fedra_ray.config.bounds import Bounds, bounds_of
from fedra_ray.config.errors import SettingError

_INTEGER_LIMIT = 2**63 - 1  # what arrays hold
_FLOAT_LIMIT = 3e38  # what float32 holds, in which models compute

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


class _Setting(NamedTuple):
    """One field of a configuration, and its value."""

    name: str
    value: Any
    hint: Any
    bounds: Bounds


def check_types(config: Any) -> None:
    """Refuse values of a configuration dataclass that have another type than its fields declare.

    Raises:
        SettingError: for the first one.
    """
    for setting in _settings(config):
        check_type(setting.name, setting.value, setting.hint)


def check_bounds(config: Any) -> None:
    """Refuse values of a configuration dataclass beyond the bounds that its fields state.

    Raises:
        SettingError: for the first one.
    """
    for setting in _settings(config):
        broken = setting.bounds.broken(setting.value)
        if broken is not None:
            raise SettingError(setting.name, setting.value, f"must be {broken}")


def check_sizes(config: Any) -> None:
    """Refuse numbers of a configuration dataclass that are not finite, or too large to compute with.

    Raises:
        SettingError: for the first one.
    """
    for setting in _settings(config):
        _check_size(setting.name, setting.value)


def check_type(setting: str, value: Any, hint: Any) -> None:
    """Refuse a value that does not have the type that an annotation declares.

    Raises:
        SettingError: naming the setting.
    """
    if not _fits(value, hint):
        raise SettingError(setting, value, f"must be {_in_words(hint)}")


def _settings(config: Any, prefix: str = "") -> Iterator[_Setting]:
    """Every setting of a configuration by dotted name, those of the sections in it too."""
    hints = get_type_hints(type(config))
    for item in dataclasses.fields(config):
        name = prefix + item.name
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{name}.")
            continue
        yield _Setting(name, value, hints[item.name], bounds_of(item))
        for key, entry in value.items() if isinstance(value, Mapping) else ():
            if dataclasses.is_dataclass(entry):
                yield from _settings(entry, f"{name}.{key}.")


def _check_size(setting: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_size(f"{setting}.{key}", entry)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_size(setting, item)
    elif isinstance(value, int) and abs(value) > _INTEGER_LIMIT:
        raise SettingError(setting, value, f"must be at most {_INTEGER_LIMIT} in size")
    elif isinstance(value, float) and not abs(value) <= _FLOAT_LIMIT:
        raise SettingError(setting, value, f"must be a finite number of at most {_FLOAT_LIMIT:g} in size")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation; true for kinds of annotations that configurations do not use."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, member) for member in arguments)
    if origin is list:
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(entry, arguments[1]) for key, entry in value.items()
        )
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in _WORDS or dataclasses.is_dataclass(hint) else True


def _in_words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin is list:
        return f"a list, every item {_in_words(arguments[0])}"
    if origin is dict:
        return f"a mapping, every value {_in_words(arguments[1])}"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return f"a {hint.__name__}"
    return _WORDS.get(hint, "anything")
