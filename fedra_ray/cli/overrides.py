"""The overrides of a command line, in Hydra's grammar; what breaks it is refused in one line."""

import itertools
import math
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from fedra_ray.cli.choices import groups, options
from fedra_ray.config.errors import SettingError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override, RangeSweep

SEARCHPATH = "hydra.searchpath"
MOST_RUNS = 10_000  # of a grid; more are a slip of the keyboard
_QUOTE = "a text with spaces, commas, quotes or other signs is written in quotes, as SETTING='TEXT'"


def parse(overrides: list[str]) -> "list[Override]":
    """The overrides as Hydra parses them.

    Raises:
        SettingError: for the first one without a value, or beyond the grammar.
    """
    return [_parse(override) for override in overrides]


def is_hydras(item: "Override") -> bool:
    """Whether an override is for Hydra's way of starting runs; where further choices are is for every verb."""
    return item.key_or_group == "hydra" or (item.is_hydra_override() and item.key_or_group != SEARCHPATH)


def refuse_hydras(parsed: "list[Override]") -> None:
    """Refuse settings of Hydra itself, which change nothing where Hydra starts no runs.

    Raises:
        SettingError: for the first one.
    """
    for item in parsed:
        if is_hydras(item):
            raise SettingError(item.get_key_element(), value_text(item), "is Hydra's own, which --multirun alone has")


def parse_single(overrides: list[str]) -> "list[Override]":
    """The overrides as `parse` has them, each with one value.

    Raises:
        SettingError: for the first one that `parse` refuses, that has several values, or that is Hydra's own.
    """
    parsed = parse(overrides)
    refuse_hydras(parsed)
    for item in parsed:
        if item.is_sweep_override():
            allowed = f"has several values, which are for sweep; {_QUOTE}"
            raise SettingError(item.get_key_element(), value_text(item), allowed)
    return parsed


def values(item: "Override") -> list[str]:
    """The values of an override that has several, as texts in Hydra's grammar, in their order.

    Raises:
        SettingError: if they cannot be counted out, are none or more than `MOST_RUNS`, or if one is there twice.
    """
    from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep

    setting, meant = item.key_or_group, item.value()
    if isinstance(meant, IntervalSweep):
        raise SettingError(setting, value_text(item), "an interval has no single values; list them, or use range(...)")
    if isinstance(meant, Glob):
        return _matching(item, meant.filter(options(setting)) if setting in groups() else None)
    if isinstance(meant, RangeSweep):
        if not 0 < _length(meant) <= MOST_RUNS:
            raise SettingError(setting, value_text(item), f"must have 1 to {MOST_RUNS:,} values")
        _make_exact(meant)
    try:
        texts = list(itertools.islice(item.sweep_string_iterator(), MOST_RUNS))
    except Exception as error:  # Hydra's kinds, and OmegaConf's for choices within choices
        raise SettingError(setting, value_text(item), reason(error)) from error
    for text, times in Counter(texts).items():
        if times > 1:
            raise SettingError(setting, value_text(item), f"names {text} more than once")
    return texts


def value_text(item: "Override") -> str:
    """What stands after the equals sign."""
    return (item.input_line or "").partition("=")[2]


def explain(error: Exception, overrides: list[str]) -> SettingError:
    """One line from Hydra's chain of errors, with the override it is about."""
    told = reason(error)
    longest_first = sorted(overrides, key=len, reverse=True)  # `dataset` is part of many reasons
    for override in sorted(longest_first, key=lambda candidate: candidate not in told):
        key, _, value = override.partition("=")
        if key.lstrip("+~") in told or len(overrides) == 1:
            return SettingError(key, value, told)
    return SettingError("configuration", " ".join(overrides), told)


def reason(error: BaseException) -> str:
    """What an error and those that it came from say, in one line."""
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(" ".join(str(cause).split("Config search path")[0].split()))
        cause = cause.__cause__
    return "; ".join(told for told in dict.fromkeys(reasons) if told not in ("", "None"))


def _parse(override: str) -> "Override":
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = override.partition("=")
    if not equals and not override.startswith("~"):
        raise SettingError(override, "", "has no value; write SETTING=VALUE")
    try:
        item = OverridesParser.create().parse_override(override)
    except (HydraException, RecursionError) as error:
        raise SettingError(key, value, f"{reason(error)}; {_QUOTE}") from error
    if item.is_delete() and item.is_sweep_override():
        raise SettingError(key, value, "cannot be removed with several values")
    return item


def _matching(item: "Override", names: list[str] | None) -> list[str]:
    """The choices that a glob matches; None for a setting that has no choices by name."""
    setting = item.key_or_group
    if names is None:
        raise SettingError(setting, value_text(item), f"glob is for groups of settings: {', '.join(groups())}")
    if not names:
        raise SettingError(setting, value_text(item), f"matches none of {', '.join(options(setting))}")
    return names


def _make_exact(meant: "RangeSweep") -> None:
    """Let a range count in the decimals that are written: in binary ones 0.1 + 0.1 + 0.1 is more than 0.3."""
    if not all(isinstance(number, int) for number in (meant.start, meant.stop, meant.step)):
        for name in ("start", "stop", "step"):
            setattr(meant, name, Decimal(str(getattr(meant, name))))


def _length(meant: "RangeSweep") -> float:
    """How many values a range has, or a little less; not a number where nobody can say."""
    assert meant.start is not None
    assert meant.stop is not None
    try:
        return float((meant.stop - meant.start) / meant.step)
    except ArithmeticError:
        return math.nan
