"""Files of one data set that were written by several tools."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedra_ray.config.errors import SettingError
from fedra_ray.data.parquet import ParquetDataset

TEXT = (
    pa.string(),
    pa.large_string(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
)
INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())


def write(file: Path, **columns: Any) -> None:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), 99).save(buffer, "PNG")
    table = {"image": [buffer.getvalue()] * 4, "label": [0, 1, 0, 1], "domain": ["x", "x", "y", "y"]}
    pq.write_table(pa.table({name: values for name, values in (table | columns).items() if values is not None}), file)


def opened(folder: Path) -> ParquetDataset:
    return ParquetDataset(str(folder), 4)


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
@pytest.mark.parametrize("column", ["label", "domain"])
def test_integers_of_any_width_are_one(column: str, kind: pa.DataType, tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", **{column: pa.array([0, 1, 0, 1], pa.int64())})
    write(tmp_path / "test.parquet", **{column: pa.array([1, 0, 0, 1], kind)})
    dataset = opened(tmp_path)
    counts = {split: [dataset.labels(name, split).tolist() for name in dataset.domains] for split in ("train", "test")}
    if column == "label":
        assert counts == {"train": [[0, 1], [0, 1]], "test": [[1, 0], [0, 1]]}
    else:
        assert dataset.domains == ("0", "1")
        assert counts == {"train": [[0, 0], [1, 1]], "test": [[1, 0], [0, 1]]}


@pytest.mark.parametrize("kind", TEXT, ids=str)
@pytest.mark.parametrize("first", TEXT[:2], ids=str)
@pytest.mark.parametrize("column", ["label", "domain", "label_name", "split"])
def test_text_of_any_type_is_one(column: str, first: pa.DataType, kind: pa.DataType, tmp_path: Path) -> None:
    words = ["train", "test", "train", "test"]
    for name, type_ in (("a", first), ("b", kind)):
        write(tmp_path / f"{name}.parquet", **{"split": words, column: pa.array(words).cast(type_)})
    dataset = opened(tmp_path)
    assert sum(len(dataset.labels(domain, "train")) for domain in dataset.domains) == 4
    names = {"label": dataset.classes, "label_name": dataset.classes[::-1], "domain": dataset.domains}
    assert names.get(column, ("test", "train")) == ("test", "train")


def test_integers_in_one_file_and_text_in_another_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a-train.parquet")
    write(tmp_path / "b-test.parquet", label=["cat", "dog", "cat", "dog"])
    with pytest.raises(
        SettingError, match=r"column label has integers in .*a-train\.parquet and text in .*b-test\.parq"
    ):
        opened(tmp_path)


@pytest.mark.parametrize("lacking", ["a", "b"])
def test_a_column_that_one_file_lacks_is_refused(lacking: str, tmp_path: Path) -> None:
    for name in "ab":
        split = None if name == lacking else ["train", "test"] * 2
        write(tmp_path / f"{name}.parquet", split=split)
    having = "b" if lacking == "a" else "a"
    with pytest.raises(
        SettingError, match=rf"{lacking}\.parquet lacks the column split, which .*{having}\.parquet has"
    ):
        opened(tmp_path)


def test_a_number_that_no_label_can_be_is_refused_by_file(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", label=pa.array([0, 1, 2**64 - 1, 0], pa.uint64()))
    with pytest.raises(SettingError, match=r"a\.parquet: column label has a number beyond 64 bits"):
        opened(tmp_path)


def test_empty_values_are_refused_by_file(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", domain=["x", None, "y", "y"])
    with pytest.raises(SettingError, match=r"b\.parquet: the column domain has empty values"):
        opened(tmp_path)


def test_images_may_be_a_struct_in_one_file_and_bytes_in_another(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet")
    content = pq.read_table(tmp_path / "train.parquet")["image"].to_pylist()
    write(tmp_path / "test.parquet", image=[{"bytes": image, "path": "a.png"} for image in content])
    dataset = opened(tmp_path)
    for split in ("train", "test"):
        assert dataset.images("y", split, np.arange(2)).shape == (2, 3, 4, 4)


def named(names: list[str]) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}


def test_metadata_that_name_the_same_numbers_differently_are_refused(tmp_path: Path) -> None:
    for file, names in (("train", ["cat", "dog"]), ("test", ["dog", "cat"]), ("validation", None)):
        path = tmp_path / f"{file}.parquet"
        write(path)
        if names:
            pq.write_table(pq.read_table(path).replace_schema_metadata(named(names)), path)
    with pytest.raises(SettingError, match=r"test\.parquet and .*train\.parquet give other names .* column label"):
        opened(tmp_path)
    (tmp_path / "test.parquet").unlink()
    assert opened(tmp_path).classes == ("cat", "dog")
