import os
import random
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.data.classes import Classes
from fedra_ray.data.tree import Item, TreeDataset, class_names, folder, held_out, read_list


def items(counts: dict[tuple[str, int], int]) -> list[Item]:
    """So many training images of every domain and label."""
    return [
        Item(f"{domain}/{label}/{number}.jpg", label, domain, "train")
        for (domain, label), count in counts.items()
        for number in range(count)
    ]


@pytest.fixture
def split_file(tmp_path: Path) -> Path:
    return tmp_path / "clipart_train.txt"


def test_a_line_ends_with_the_label_and_may_have_spaces_before(split_file: Path) -> None:
    split_file.write_text("dim/hot air balloon/a b.jpg 7\n\n dim/cat/ü.jpg 12 \r\n", encoding="utf-8")
    assert list(read_list(split_file)) == [("dim/hot air balloon/a b.jpg", 7), ("dim/cat/ü.jpg", 12)]


@pytest.mark.parametrize(
    "line",
    [
        "clipart/cat/a.jpg",
        "clipart/cat/a.jpg ",
        "clipart/cat/a.jpg cat",
        "clipart/cat/a.jpg -1",
        "clipart/cat/a.jpg 1.0",
        "clipart/cat/a.jpg ²",
        "clipart/cat/a.jpg\t1",
        "clipart/a.jpg 1",
        "a.jpg 1",
        "17",
    ],
)
def test_a_malformed_line_is_refused_with_its_file_and_number(line: str, split_file: Path) -> None:
    split_file.write_text(f"clipart/cat/a.jpg 0\n\n{line}\n", encoding="utf-8")
    with pytest.raises(
        SettingError, match=r"clipart_train.txt, line 3: must be `domain/class/image label`: "
    ) as refusal:
        list(read_list(split_file))
    assert refusal.value.args[0] == "dataset.root"


@pytest.mark.parametrize(
    "path", ["clipart/cat/../../../secret.jpg", "../cat/a.jpg", "/somewhere/cat/a.jpg", "//somewhere/cat/a.jpg"]
)
def test_a_line_that_leaves_the_root_is_refused(path: str, split_file: Path) -> None:
    split_file.write_text(f"{path} 0\n")
    with pytest.raises(SettingError, match=r"clipart_train\.txt, line 1: must stay below the root"):
        list(read_list(split_file))


def test_a_missing_split_file_is_named(split_file: Path) -> None:
    with pytest.raises(SettingError, match=r"clipart_train.txt: is not a readable split file: .*No such file"):
        list(read_list(split_file))


def test_a_split_file_of_another_encoding_is_refused(split_file: Path) -> None:
    split_file.write_bytes("clipart/café/a.jpg 0\n".encode("latin-1"))
    with pytest.raises(SettingError, match=r"clipart_train.txt: is not a readable split file: .*utf-8"):
        list(read_list(split_file))


def listed(*pairs: tuple[int, str]) -> list[Item]:
    """An image of every label and class folder."""
    return [Item(f"x/{name}/{number}.jpg", label, "x", "train") for number, (label, name) in enumerate(pairs)]


def test_the_folders_of_a_list_name_its_labels(tmp_path: Path) -> None:
    assert class_names(listed((7, "ant"), (0, "zebra"), (7, "ant")), tmp_path) == {0: "zebra", 7: "ant"}


def test_spellings_that_look_the_same_are_one_name(tmp_path: Path) -> None:
    spelled = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    assert class_names(listed((0, spelled[0]), (0, spelled[1]), (1, "bar")), tmp_path) == {0: spelled[0], 1: "bar"}
    with pytest.raises(SettingError, match=f"{spelled[0]} has the labels 0 and 1"):
        class_names(listed((0, spelled[0]), (1, spelled[1])), tmp_path)


def test_a_label_of_two_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="label 0 stands for ant and for cat"):
        class_names(listed((0, "ant"), (0, "cat")), tmp_path)


def test_a_missing_folder_says_what_should_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="nowhere: no such folder; it should contain splits and images"):
        folder(str(tmp_path / "nowhere"), "splits and images")
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="no such folder"):
        folder(str(tmp_path / "file"), "splits and images")


def test_a_folder_may_lie_in_the_home_directory() -> None:
    assert folder("~", "") == Path.home()


def test_shares_are_of_every_domain_and_class() -> None:
    found = held_out(items({("x", 0): 10, ("x", 1): 20, ("y", 0): 5}), test=0.2, validation=0.1)
    counts = Counter((item.domain, item.label, item.split) for item in found)
    assert counts == {
        ("x", 0, "test"): 2,
        ("x", 0, "validation"): 1,
        ("x", 0, "train"): 7,
        ("x", 1, "test"): 4,
        ("x", 1, "validation"): 2,
        ("x", 1, "train"): 14,
        ("y", 0, "test"): 1,
        ("y", 0, "validation"): 1,  # 0.3 * 5 rounds to 2 held out
        ("y", 0, "train"): 3,
    }


@given(
    counts=st.dictionaries(st.tuples(st.sampled_from("xy"), st.integers(0, 3)), st.integers(1, 30), min_size=1),
    test=st.floats(0, 0.5),
    validation=st.floats(0, 0.49),
)
def test_held_out_shares_are_rounded_and_lose_no_image(
    counts: dict[tuple[str, int], int], test: float, validation: float
) -> None:
    given_items = items(counts)
    found = held_out(given_items, test, validation)
    assert [(item.path, item.label, item.domain) for item in found] == [
        (item.path, item.label, item.domain) for item in given_items
    ]
    for (domain, label), count in counts.items():
        splits = Counter(item.split for item in found if (item.domain, item.label) == (domain, label))
        assert abs(splits["test"] - test * count) <= 0.5 + 1e-9
        assert abs(splits["test"] + splits["validation"] - (test + validation) * count) <= 0.5 + 1e-9


def test_held_out_images_do_not_depend_on_the_order_of_images() -> None:
    given_items = items({("x", 0): 30, ("y", 1): 30})
    shuffled = random.Random(0).sample(given_items, len(given_items))
    found, again = ({item.path: item.split for item in held_out(some, 0.2, 0.2)} for some in (given_items, shuffled))
    assert found == again


def test_held_out_images_are_not_the_first_ones() -> None:
    test = [item.path for item in held_out(items({("x", 0): 100}), 0.2, 0) if item.split == "test"]
    assert len(test) == 20
    assert test != [f"x/0/{number}.jpg" for number in range(20)]


def test_a_larger_test_share_keeps_the_images_of_a_smaller_one() -> None:
    small, large = (
        {item.path for item in held_out(items({("x", 0): 50}), share, 0) if item.split == "test"}
        for share in (0.2, 0.4)
    )
    assert small < large


@pytest.mark.parametrize(("test", "validation"), [(1.0, 0.0), (0.0, 1.0), (-0.1, 0.1), (0.1, -0.1), (0.5, 0.5)])
def test_shares_that_leave_nothing_to_train_on_are_refused(test: float, validation: float) -> None:
    with pytest.raises(SettingError, match="test and validation shares must be at least 0 and sum below 1"):
        held_out(items({("x", 0): 10}), test, validation)


@pytest.fixture
def small_tree(tmp_path: Path) -> TreeDataset:
    """Domains b and a, two training images of a; one test image of b that is missing."""
    (tmp_path / "a" / "cat").mkdir(parents=True)
    for name, colour in (("1.png", (10, 20, 30)), ("2.png", (40, 50, 60))):
        Image.new("RGB", (6, 3), colour).save(tmp_path / "a" / "cat" / name)
    listed = [
        Item("b/dog/1.png", 1, "b", "test"),
        Item("a/cat/1.png", 0, "a", "train"),
        Item("a/cat/2.png", 0, "a", "train"),
    ]
    return TreeDataset(tmp_path, 4, listed, Classes(("cat", "dog"), (0, 1)))


def test_domains_are_in_alphabetical_order(small_tree: TreeDataset) -> None:
    assert small_tree.domains == ("a", "b")
    assert small_tree.classes == ("cat", "dog")


def test_every_domain_has_labels_of_every_split(small_tree: TreeDataset) -> None:
    splits = ("train", "validation", "test")
    found = {(domain, split): small_tree.labels(domain, split) for domain in "ab" for split in splits}
    assert {key: labels.tolist() for key, labels in found.items() if len(labels)} == {
        ("a", "train"): [0, 0],
        ("b", "test"): [1],
    }
    assert {labels.dtype for labels in found.values()} == {np.dtype(np.int64)}


def test_images_of_other_classes_are_left_out_and_labels_renumbered(tmp_path: Path) -> None:
    items = [Item(f"{domain}/{label}.png", label, domain, "train") for domain, label in (("a", 3), ("a", 5), ("b", 9))]
    tree = TreeDataset(tmp_path, 4, [*items, Item("a/x.png", 9, "a", "train")], Classes(("cat", "dog"), (3, 5)))
    assert tree.domains == ("a",)
    assert tree.labels("a", "train").tolist() == [0, 1]
    assert tree.class_numbers == (3, 5)
    assert tree.notes == ("passed over 1 domains without an image of these classes: b",)


def test_an_image_that_changes_gives_another_fingerprint(small_tree: TreeDataset, tmp_path: Path) -> None:
    file = tmp_path / "a" / "cat" / "2.png"
    before, other = small_tree.fingerprint("a", "train"), small_tree.fingerprint("b", "test")
    assert small_tree.fingerprint("a", "train") == before != other
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert small_tree.fingerprint("a", "train") != before
    assert small_tree.fingerprint("b", "test") == other
    file.unlink()
    assert small_tree.fingerprint("a", "train") != before


def test_images_come_in_the_order_asked_for(small_tree: TreeDataset) -> None:
    images = small_tree.images("a", "train", np.array([1, 0, 1]))
    assert images.shape == (3, 3, 4, 4)
    assert images[:, :, 0, 0].tolist() == [[40, 50, 60], [10, 20, 30], [40, 50, 60]]


def test_an_image_that_is_not_there_is_named_when_it_is_needed(small_tree: TreeDataset, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as failure:
        small_tree.images("b", "test", np.array([0]))
    assert failure.value.args == (str(tmp_path / "b" / "dog" / "1.png"), "no such file")
