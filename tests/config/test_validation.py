from dataclasses import dataclass, field
from typing import Any

import pytest

from fedra_ray.config.bounds import setting
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import DeviceConfig
from fedra_ray.config.validation import check_bounds, check_sizes, check_type, check_types


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (1, float),
        (0.5, float),
        (True, bool),
        ("a", str),
        (None, str | None),
        ([1, 2], list[int]),
        ((1, 2.5), list[float]),
        ([], list[str] | None),
        ({"a": 1}, dict[str, int]),
        ({"a": object()}, dict[str, Any]),
        (object(), Any),
        (object(), None),  # no annotation
        ("a", tuple[int, str]),  # no setting has that; whoever wants it checks it
    ],
)
def test_a_value_of_its_declared_type_is_allowed(value: Any, hint: Any) -> None:
    check_type("a", value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "allowed"),
    [
        ("1", int, "a whole number"),
        (1.0, int, "a whole number"),
        (True, int, "a whole number"),
        (True, float, "a number"),
        (1, bool, "true or false"),
        (None, str, "text"),
        (1, str | None, "text or null"),
        (1, list[int], "a list, every item a whole number"),
        ([[1]], list[int], "a list, every item a whole number"),
        ("ab", list[str], "a list, every item text"),
        ([1], dict[str, str] | None, "a mapping, every value text or null"),
        ({"a": None}, dict[str, str], "a mapping, every value text"),
        ({1: "a"}, dict[str, str], "a mapping, every value text"),
        ({"a": {}}, dict[str, DeviceConfig], "a mapping, every value a DeviceConfig"),
    ],
)
def test_a_value_of_another_type_is_refused_in_words(value: Any, hint: Any, allowed: str) -> None:
    with pytest.raises(SettingError) as refusal:
        check_type("a", value, hint)
    assert refusal.value.args == ("a", value, f"must be {allowed}")


@dataclass
class Inner:
    numbers: list[float] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outer:
    count: int = setting(1, minimum=0)
    inner: Inner = field(default_factory=Inner)
    devices: dict[str, DeviceConfig] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (Outer(count=2**63), "count"),
        (Outer(count=-(2**63)), "count"),
        (Outer(inner=Inner(numbers=[1.0, float("nan")])), "inner.numbers"),
        (Outer(inner=Inner(numbers=[-1e39])), "inner.numbers"),
        (Outer(inner=Inner(options={"a": {"b": [float("inf")]}})), "inner.options.a.b"),
    ],
)
def test_a_number_without_a_sane_size_is_refused_wherever_it_is(config: Outer, setting: str) -> None:
    with pytest.raises(SettingError) as refusal:
        check_sizes(config)
    assert refusal.value.args[0] == setting


def test_types_are_looked_at_in_every_part_of_a_configuration() -> None:
    check_types(Outer())
    with pytest.raises(SettingError, match=r"inner\.numbers=x: must be a list, every item a number"):
        check_types(Outer(inner=Inner(numbers="x")))  # type: ignore[arg-type]


def test_bounds_are_looked_at_in_every_part_of_a_configuration() -> None:
    check_bounds(Outer(devices={"slow": DeviceConfig(1, 1, 1, 1)}))
    with pytest.raises(SettingError, match=r"^count=-1: must be at least 0$"):
        check_bounds(Outer(count=-1))
    with pytest.raises(SettingError, match=r"^devices\.slow\.gflops=0: must be greater than 0$"):
        check_bounds(Outer(devices={"slow": DeviceConfig(0, 1, 1, 1)}))


def test_usual_numbers_have_a_sane_size() -> None:
    check_sizes(
        Outer(count=2**63 - 1, inner=Inner(numbers=[1e-300, -1e38], options={"a": True, "b": "inf", "c": None}))
    )
