"""What a setting may be, stated beside its default in the dataclass that declares it."""

from dataclasses import Field, dataclass, field
from typing import Any

_KEY = "bounds"


@dataclass(frozen=True)
class Bounds:
    """What a setting may be besides its type. A value of None is not bounded.

    Attributes:
        minimum: Least value.
        maximum: Greatest value.
        above: The value must be greater than this.
        fraction: The value must be at least 0 and below 1.
        choices: The words that the setting may be; empty for any.
    """

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    fraction: bool = False
    choices: tuple[str, ...] = ()

    def broken(self, value: Any) -> str | None:
        """The bound that a value breaks, in words such as "at least 1"; None for an allowed value."""
        if value is None:
            return None
        if self.choices and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.fraction and not 0 <= value < 1:
            return "at least 0 and below 1"
        if self.minimum is not None and not value >= self.minimum:
            return f"at least {self.minimum}"
        if self.maximum is not None and not value <= self.maximum:
            return f"at most {self.maximum}"
        if self.above is not None and not value > self.above:
            return f"greater than {self.above}"
        return None


def setting(default: Any, **bounds: Any) -> Any:
    """A field of a configuration dataclass with its default and its bounds (those of `Bounds`)."""
    return field(default=default, metadata=bounded(**bounds))


def bounded(**bounds: Any) -> dict[str, Bounds]:
    """The metadata of a field with these bounds, for `dataclasses.field`."""
    return {_KEY: Bounds(**bounds)}


def bounds_of(item: Field[Any]) -> Bounds:
    """The bounds that a field states; none if it was not declared with any."""
    declared: Bounds = item.metadata.get(_KEY, Bounds())
    return declared
