"""Which drawings show a concept of the benchmark, by their names."""

import pytest

from analysis.artwork.concepts import CLASSES, Emoji, Excluded, class_of, is_kept_out, words


def emoji(subgroup: str) -> Emoji:
    return Emoji("1F42C", "dolphin", subgroup, "dolphin")


def test_a_subgroup_belongs_to_one_class() -> None:
    subgroups = [subgroup for own in CLASSES.values() for subgroup in own]
    assert len(subgroups) == len(set(subgroups))
    assert 20 <= len(CLASSES) <= 40


@pytest.mark.parametrize(
    ("subgroup", "name", "out"),
    [("animal-marine", "creature", True), ("time", None, True), ("country-flag", None, False)],
)
def test_the_pretraining_leaves_out_what_classes_take_in_and_what_is_reserved(
    subgroup: str, name: str | None, out: bool
) -> None:
    assert class_of(emoji(subgroup)) == name
    assert is_kept_out(emoji(subgroup)) is out


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        ("dolphin", True),
        ("dolphin jumping", True),
        ("dolphins", True),
        ("apple", True),  # of "red apple"
        ("apple core", True),
        ("police", False),  # "police car" needs both words
        ("car police side", True),
        ("network", False),
    ],
)
def test_a_name_is_excluded_if_it_has_all_words_of_a_concept(name: str, excluded: bool) -> None:
    assert Excluded(["dolphin", "red apple", "police car"]).covers(name) is excluded


def test_words_of_qualifiers_alone_are_kept() -> None:
    assert words("red circle") == {"circle"}
    assert words("up-down") == {"up", "down"}


@pytest.mark.parametrize(
    ("name", "said"), [("acorn-fill", "acorn"), ("dots-six-thin", "dots six"), ("unlock-2-solid-24px", "unlock")]
)
def test_variants_of_an_icon_say_the_same(name: str, said: str) -> None:
    pytest.importorskip("resvg_py")  # of the extra `data`
    from analysis.artwork.pretraining import spoken

    assert spoken(name) == said
