from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from fedra_ray.config.bounds import Bounds, bounded, bounds_of, setting


@pytest.mark.parametrize(
    ("bounds", "allowed", "broken", "words"),
    [
        (Bounds(minimum=1), [1, 2], [0, -1, float("nan")], "at least 1"),
        (Bounds(maximum=9), [9, -9], [10, float("nan")], "at most 9"),
        (Bounds(above=0), [1e-300], [0, -1.0, float("nan")], "greater than 0"),
        (Bounds(fraction=True), [0, 0.99], [1, -0.1, float("nan")], "at least 0 and below 1"),
        (Bounds(choices=("fail", "skip")), ["fail", "skip"], ["", "Fail"], "one of fail, skip"),
    ],
)
def test_a_bound_is_told_in_words_where_it_is_broken(
    bounds: Bounds, allowed: list[Any], broken: list[Any], words: str
) -> None:
    assert [bounds.broken(value) for value in allowed] == [None] * len(allowed)
    assert [bounds.broken(value) for value in broken] == [words] * len(broken)


def test_the_bound_that_is_broken_is_the_one_that_is_told() -> None:
    bounds = Bounds(minimum=1, maximum=9)
    assert [bounds.broken(value) for value in (0, 5, 10)] == ["at least 1", None, "at most 9"]


def test_no_value_is_within_any_bounds() -> None:
    assert Bounds(minimum=1, maximum=9, choices=("a",)).broken(None) is None


@dataclass
class Section:
    size: float = field(metadata=bounded(above=0))
    count: int = setting(3, minimum=1)
    name: str = "x"


def test_a_field_has_its_default_and_its_bounds() -> None:
    assert (Section(1.0).count, Section(1.0, count=4).count) == (3, 4)
    assert [bounds_of(item) for item in fields(Section)] == [Bounds(above=0), Bounds(minimum=1), Bounds()]
