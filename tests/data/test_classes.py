import unicodedata

import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.data.classes import check_alike, check_number, one_form, shortened, take, without_images

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
TEN = {23: "bird", 110: "feather", 148: "headphones", 2: "zebra"}


def test_a_name_has_one_form_whatever_wrote_it() -> None:
    assert COMPOSED != DECOMPOSED
    assert {one_form(name) for name in (COMPOSED, DECOMPOSED, f" {DECOMPOSED}\t")} == {COMPOSED}


@pytest.mark.parametrize("name", ["Mug", "hot air balloon", " ", "日本", "ﬁn"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert one_form(name) == name


@pytest.mark.parametrize(
    ("one", "other"), [("Mug", "mug"), ("hot air balloon", "hot  air balloon"), ("STRASSE", "straße"), ("É1", "é1")]
)
def test_names_that_look_alike_are_refused(one: str, other: str) -> None:
    with pytest.raises(
        SettingError, match=f"data: has the classes '{one}' and '{other}', which differ by case or spaces"
    ):
        check_alike([one, "bike", other], "classes", "data")


def test_names_of_one_letter_may_differ_by_case() -> None:
    check_alike(["a", "A", "é", "É", "ab"], "classes", "data")


def test_labels_count_the_classes_in_the_order_of_their_numbers() -> None:
    classes = take(TEN, None, "data")
    assert classes.names == ("zebra", "bird", "feather", "headphones")
    assert classes.numbers == (2, 23, 110, 148)
    assert classes.labels == {2: 0, 23: 1, 110: 2, 148: 3}
    (note,) = classes.notes
    assert (
        note == "labels 0 to 3 stand for the data set's numbers 2 (zebra), 23 (bird), 110 (feather), 148 (headphones)"
    )


def test_classes_that_are_numbered_through_need_no_line() -> None:
    assert take({1: "b", 0: "a"}, None, "data").notes == ()


@pytest.mark.parametrize("chosen", [["bird", "zebra"], [23, 2], [2, "bird"], [" bird", "zebra "]])
def test_classes_are_chosen_by_name_or_number(chosen: list[str | int]) -> None:
    classes = take(TEN, chosen, "data")
    assert (classes.names, classes.numbers) == (("zebra", "bird"), (2, 23))
    assert classes.notes[0] == "takes 2 of 4 classes"
    assert classes.labelled(np.array([23, 110, 2, 148, 23])).tolist() == [1, -1, 0, -1, 1]


def test_a_name_that_is_a_number_counts_as_a_name_first() -> None:
    assert take({0: "7", 1: "8", 7: "9"}, [7, 8], "data").numbers == (0, 1)


def test_a_name_of_any_form_chooses_its_class() -> None:
    assert take({0: COMPOSED, 1: "bar"}, [DECOMPOSED, "bar"], "data").numbers == (0, 1)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            ["bird", "Zebra"],
            r"dataset.options.classes=Zebra: is no class of the data set; the classes are zebra \(2\), bird",
        ),
        ([23, 24], r"dataset.options.classes=24: is no class of the data set"),
        ([-1, 23], r"dataset.options.classes=-1: is no class of the data set"),
        ([23, "bird"], "names a class more than once"),
        ([], "has no class that is taken"),
    ],
)
def test_what_is_no_choice_of_classes_is_refused(chosen: list[str | int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        take(TEN, chosen, "data")


def test_two_numbers_of_one_name_are_refused() -> None:
    with pytest.raises(SettingError, match=f"gives the numbers 0 and 1 to classes of the same name, {COMPOSED}"):
        take({0: one_form(COMPOSED), 1: one_form(DECOMPOSED)}, None, "data")


def test_classes_that_look_alike_are_taken_if_both_are_listed() -> None:
    alike = {0: "Mug", 1: "mug", 2: "bike"}
    with pytest.raises(
        SettingError, match=r"'Mug' and 'mug', .*; rename one, or list those .* dataset.options.classes"
    ):
        take(alike, None, "data")
    assert take(alike, ["Mug", "mug"], "data").names == ("Mug", "mug")


def test_a_single_class_is_refused() -> None:
    with pytest.raises(SettingError, match=r"dataset.root=data: has only the class cat; there must be two at least"):
        check_number(["cat"], "data")
    check_number(["cat", "dog"], "data")


def test_domains_that_lose_all_images_are_told() -> None:
    assert without_images(["a", "b", "c"], ["b"]) == ("passed over 2 domains without an image of these classes: a, c",)
    assert without_images(["a"], ["a"]) == ()


def test_a_long_list_is_shortened_to_printable_text() -> None:
    assert shortened(["a", "b\n\x1b"]) == "a, b \\x1b"
    assert shortened([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
