"""From the nested mappings of a config.yaml back to the dataclass that it states."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_mapping(schema: type[T], settings: Mapping[str, Any]) -> T:
    """A configuration as `dataclasses.asdict` has written it; settings that are not stated have their defaults.

    Args:
        schema: The dataclass.
        settings: Its settings by name, those of its sections as mappings.

    Raises:
        TypeError: for a setting that the dataclass does not have, or a section that is no mapping.
    """
    if not isinstance(settings, Mapping):
        raise TypeError(f"a {type(settings).__name__} where a mapping belongs")
    hints = get_type_hints(schema)
    return schema(**{name: _value(hints.get(name), value) for name, value in settings.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_mapping(hint, value)
    entry = get_args(hint)[1] if get_origin(hint) is dict else None
    if dataclasses.is_dataclass(entry) and isinstance(value, Mapping):
        return {key: _value(entry, inner) for key, inner in value.items()}
    return value
