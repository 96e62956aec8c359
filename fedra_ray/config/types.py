"""Values that come from outside: whether they have their declared type, and whether numbers have a sane size."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from fedra_ray.config.errors import SettingError

_INTEGER_LIMIT = 2**63 - 1  # what arrays hold
_FLOAT_LIMIT = 3e38  # what float32 holds, in which models compute

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def check_types(config: Any) -> None:
    """Refuse values of a configuration dataclass that have another type than its fields declare.

    Raises:
        SettingError: for the first one.
    """
    for setting, value, hint in _settings(config):
        check_type(setting, value, hint)


def check_sizes(config: Any) -> None:
    """Refuse numbers of a configuration dataclass that are not finite, or too large to reckon with.

    Raises:
        SettingError: for the first one.
    """
    for setting, value, _ in _settings(config):
        _check_size(setting, value)


def check_type(setting: str, value: Any, hint: Any) -> None:
    """Refuse a value that does not have the type that an annotation declares.

    Raises:
        SettingError: naming the setting.
    """
    if not _fits(value, hint):
        raise SettingError(setting, value, f"must be {_in_words(hint)}")


def _settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, value and annotation of every setting."""
    hints = get_type_hints(type(config))
    for item in dataclasses.fields(config):
        setting, value = prefix + item.name, getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{setting}.")
            continue
        yield setting, value, hints[item.name]
        for name, each in value.items() if isinstance(value, Mapping) else ():
            if dataclasses.is_dataclass(each):
                yield from _settings(each, f"{setting}.{name}.")


def _check_size(setting: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for name, each in value.items():
            _check_size(f"{setting}.{name}", each)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_size(setting, each)
    elif isinstance(value, int) and abs(value) > _INTEGER_LIMIT:
        raise SettingError(setting, value, f"must be at most {_INTEGER_LIMIT} in size")
    elif isinstance(value, float) and not abs(value) <= _FLOAT_LIMIT:
        raise SettingError(setting, value, f"must be a finite number of at most {_FLOAT_LIMIT:g} in size")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation; true for annotations of other kinds than configurations use."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is list:
        return isinstance(value, list | tuple) and all(_fits(each, arguments[0]) for each in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(
            _fits(name, arguments[0]) and _fits(each, arguments[1]) for name, each in value.items()
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
