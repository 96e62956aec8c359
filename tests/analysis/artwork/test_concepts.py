"""Which class a drawing shows, by its name, and what the pre-training must not see."""

import pytest

from analysis.artwork.concepts import CLASSES, class_of, is_kept_out, is_toned, said


def test_there_are_as_many_classes_as_a_benchmark_needs() -> None:
    assert 20 <= len(CLASSES) <= 40
    assert list(CLASSES) == sorted(CLASSES)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("guitar", "music"),
        ("guitars-bold", "music"),  # in plural, and how heavy it is drawn
        ("red-apple", "fruit"),
        ("soccer-ball-24px", "sport"),
        ("hot-dog", None),  # an animal and a meal
        ("bell-pepper", "vegetable"),
        ("bell", None),  # goes with peppers, and is none
        ("house-lock", None),  # says more than a building
        ("paper-plane", None),
    ],
)
def test_a_name_of_one_class_says_nothing_else(name: str, label: str | None) -> None:
    assert class_of(name) == label


@pytest.mark.parametrize(
    ("name", "out"),
    [("house-lock", True), ("Wild-Horses-fill", True), ("paper-plane", False), ("bell", False), ("apple-logo", True)],
)
def test_the_pretraining_sees_no_name_with_a_noun_of_a_class(name: str, out: bool) -> None:
    assert is_kept_out(name) is out


@pytest.mark.parametrize(
    ("name", "words"),
    [("acorn-fill", "acorn"), ("dots-six-thin", "dots six"), ("unlock-2-solid-24px", "unlock"), ("bxs-key", "key")],
)
def test_variants_of_an_icon_say_the_same(name: str, words: str) -> None:
    assert said(name) == words


@pytest.mark.parametrize(
    ("name", "toned"),
    [
        ("waving-hand-medium-dark-skin-tone", True),
        ("waving-hand-medium-dark", True),
        ("waving-hand", False),
        ("medium-star", False),
    ],
)
def test_variants_by_skin_are_told_by_their_names(name: str, toned: bool) -> None:
    assert is_toned(name) is toned
