"""Names, numbers and choice of the classes of Parquet files."""

import io
import os
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedra_ray.data.parquet import ParquetDataset


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """A row an image, all of them alike: label, label_name, domain and split."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "PNG")
    names = ("label", "label_name", "domain", "split")
    columns: dict[str, Any] = {"image": [buffer.getvalue()] * len(rows)}
    return pa.table(columns | dict(zip(names, zip(*rows, strict=True), strict=True)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "images.parquet"


def test_labels_with_gaps_are_renumbered(file: Path) -> None:
    rows = [(7, "a", "x", "train"), (344, "b", "x", "train"), (23, "c", "x", "train")]
    pq.write_table(table(rows), file)
    dataset = ParquetDataset(str(file), 8)
    assert (dataset.classes, dataset.class_numbers) == (("a", "c", "b"), (7, 23, 344))
    assert dataset.labels("x", "train").tolist() == [0, 2, 1]
    assert dataset.notes == ("labels 0 to 2 stand for the data set's numbers 7 (a), 23 (c), 344 (b)",)


@pytest.mark.parametrize("labels", [[10, 11, 12], ["one", "two", "three"]], ids=["numbers", "words"])
@pytest.mark.parametrize("chosen", [["one", "three"], None])
def test_classes_are_chosen_by_name_or_number(labels: list[Any], chosen: list[str | int] | None, file: Path) -> None:
    words = ["one", "two", "three"]
    domains = ["x", "x", "x", "y"]
    rows = [(labels[row % 3], words[row % 3], domains[row % 4], "train") for row in range(24)]
    pq.write_table(table([*rows, (labels[1], "two", "gone", "train")]), file)
    numbers: list[str | int] = [10, 12] if isinstance(labels[0], int) else [0, 1]
    dataset = ParquetDataset(str(file), 8, classes=chosen or numbers)
    assert sorted(dataset.classes) == ["one", "three"]
    assert dataset.domains == ("x", "y")
    taken = [row for row in range(24) if words[row % 3] != "two" and domains[row % 4] == "x"]
    assert [dataset.classes[label] for label in dataset.labels("x", "train")] == [words[row % 3] for row in taken]
    assert dataset.notes[0] == "takes 2 of 3 classes"
    assert dataset.notes[-1] == "passed over 1 domains without an image of these classes: gone"


def test_spellings_that_look_the_same_are_one_class_and_one_domain(file: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    names = [(composed, decomposed), (decomposed, composed), ("bar ", f" {composed}")]
    pq.write_table(table([(name, name, domain, "train") for name, domain in names]), file)
    dataset = ParquetDataset(str(file), 8)
    assert (dataset.classes, dataset.domains) == (("bar", composed), (composed,))
    assert dataset.labels(composed, "train").tolist() == [1, 1, 0]


def test_a_file_that_changes_gives_another_fingerprint(file: Path) -> None:
    pq.write_table(table([(0, "a", "x", "train"), (1, "b", "x", "train")]), file)
    before = ParquetDataset(str(file), 8).fingerprint("x", "train")
    assert ParquetDataset(str(file), 8).fingerprint("x", "train") == before
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert ParquetDataset(str(file), 8).fingerprint("x", "train") != before
