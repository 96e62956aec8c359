"""Splits by columns, file names and shares."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.data.dataset import SPLITS
from fedra_ray.data.parquet_splits import Told, divided, told_by_column, told_by_names
from fedra_ray.data.tree import Item, held_out


def splits(files: Sequence[str]) -> list[str] | None:
    """The split that the name of each file in the folder /data tells; None if nothing is told."""
    told = told_by_names([f"/data/{file}" for file in files], [1] * len(files), "/data", "/data")
    return [SPLITS[split] for split in told.split] if told.by else None


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("pets-train.parquet", "pets-test.parquet"),
        ("default/partial-train/0000.parquet", "default/partial-test/0000.parquet"),
        ("train.parquet", "eval-00000-of-00001.parquet"),
        ("pets_training_1.parquet", "pets_testing_1.parquet"),
        ("TRAIN.parquet", "Evaluation.parquet"),
        ("train1.parquet", "test2.parquet"),
        ("pets (train).parquet", "pets (test).parquet"),
        ("a/b.train.parquet", "a/test/0.parquet"),
        ("dev-kit/train/0.parquet", "dev-kit/test/0.parquet"),  # what all share tells nothing
    ],
)
def test_a_keyword_between_characters_that_are_no_letters_tells_a_split(train: str, test: str) -> None:
    assert splits([train, test]) == ["train", "test"]


@pytest.mark.parametrize("word", ["validation", "valid", "val", "dev", "VAL"])
def test_the_validation_split_has_many_names(word: str) -> None:
    assert splits([f"x-{word}-0.parquet", "x-train-0.parquet"]) == ["validation", "train"]


@pytest.mark.parametrize("files", [["latest.parquet", "photos.parquet"], ["a.parquet"], ["contest/a.parquet"]])
def test_names_without_a_keyword_tell_nothing(files: list[str]) -> None:
    assert splits(files) is None


def test_folders_that_all_files_share_tell_their_split() -> None:
    assert splits(["default/train/0000.parquet", "default/train/0001.parquet"]) == ["train", "train"]


def test_a_file_named_alone_is_told_by_its_own_name() -> None:
    told = told_by_names(["/test/pets-train.parquet"], [3], "/test/pets-train.parquet", "root")
    assert told.split.tolist() == [0, 0, 0]
    assert not told_by_names(["/train/pets.parquet"], [3], "/train/pets.parquet", "root").by


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["train-0.parquet", "extra.parquet"],
            r"some names tell a split \(train-0.parquet\) and others .*extra.parquet",
        ),
        (["train/0.parquet", "crossval/0.parquet", "test/0.parquet"], r"others do not \(crossval/0.parquet\)"),
        (["train/test-0.parquet", "test/0.parquet"], "more than one split: train/test-0.parquet"),
        (["petsTrain.parquet", "petsTest.parquet"], "seem to tell splits: petsTrain.parquet, petsTest.parquet"),
        (["trainset/0.parquet", "validset/0.parquet"], "seem to tell splits"),
        (["train.parquet", *(f"x{'abcdefgh'[n]}.parquet" for n in range(8))], "xd.parquet and 4 more"),
    ],
)
def test_doubtful_names_are_refused(files: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message) as refusal:
        splits(files)
    assert "\n" not in str(refusal.value)


def test_a_column_tells_splits_by_the_same_words() -> None:
    column = pa.chunked_array([["train", "Val", "eval", "training", "test"]])
    assert [SPLITS[split] for split in told_by_column(column, "split", "root").split] == [
        *("train", "validation", "test", "train", "test")
    ]


def told(counts: dict[str, int], by: str = "file names tell") -> Told:
    numbers = [SPLITS.index(split) for split in counts]
    split = np.repeat(np.array(numbers, dtype=np.int8), list(counts.values()))
    return Told(split, by, complete=bool(by) and set(counts) != {"train"})


def counted(case: Told, test: float | None, validation: float | None) -> tuple[list[int], tuple[str, ...]]:
    """Images by split of one class and domain, and the notes."""
    none = np.zeros(len(case.split), dtype=np.int64)
    split, notes = divided(case, none, none, test, validation, "root")
    return np.bincount(split, minlength=3).tolist(), notes


def test_shares_are_held_out_where_train_alone_is_told() -> None:
    counts, notes = counted(told({"train": 100}), None, None)
    assert counts == [70, 10, 20]
    assert notes == (
        "file names tell no such images: of every domain and class is held out 0.2 for test and 0.1 for validation",
    )
    assert counted(told({"train": 100}), 0.3, 0.0)[0] == [70, 0, 30]
    assert counted(told({"train": 100}), 0.0, 0.0) == ([100, 0, 0], ())


def test_nothing_is_held_out_unasked_where_splits_are_told() -> None:
    assert counted(told({"train": 80, "test": 20}), None, None) == ([80, 0, 20], ())
    assert counted(told({"train": 80, "validation": 20}), None, None) == ([80, 20, 0], ())


def test_a_share_that_is_set_is_held_out_or_said_to_be_unused() -> None:
    counts, notes = counted(told({"train": 80, "test": 20}), 0.3, 0.5)
    assert counts == [40, 40, 20]
    assert notes[0] == "dataset.options.test=0.3 is not used: file names tell which images are for test"
    assert "0.5 for validation" in notes[1]


def test_a_data_set_without_training_images_is_refused() -> None:
    with pytest.raises(SettingError, match=r"dataset.root=root: has no training images"):
        counted(told({"test": 20}), None, None)


def test_shares_are_the_same_images_as_those_of_other_data_sets() -> None:
    """The rule of `held_out`, by numbers of rows instead of paths."""
    rng = np.random.default_rng(0)
    label, domain = rng.integers(0, 3, 500), rng.integers(0, 4, 500)
    items = [Item(str(row), label[row], str(domain[row]), "train") for row in range(500)]
    expected = [SPLITS.index(item.split) for item in held_out(items, 0.23, 0.11)]
    split, _ = divided(told({"train": 500}, by=""), label, domain, 0.23, 0.11, "root")
    assert split.tolist() == expected


def test_a_domain_too_small_for_a_share_gives_one_image_for_testing() -> None:
    label, domain = np.array([0, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 1])
    split, _ = divided(told({"train": 5}, by=""), label, domain, 0.2, 0.0, "root")
    assert sorted(split[:4].tolist()) == [0, 0, 0, 2]
    assert split[np.argmin([hashlib.sha256(b"%d" % row).digest() for row in range(4)])] == 2
    assert split[4] == 0  # its only one is for training
