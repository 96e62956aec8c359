import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedra_ray.config import DatasetConfig
from fedra_ray.data.dataset import open_dataset
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.errors import SettingError

Write = Callable[..., str]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(rows, drop=...): a Parquet file of (label, name, domain, split) rows with small random images."""

    def file(rows: list[tuple[int, str, str, str]], drop: str | None = None) -> str:
        rng = np.random.default_rng(0)
        images = [png(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)) for _ in rows]
        labels, names, domains, splits = zip(*rows, strict=True)
        columns: dict[str, Any] = {"image": images, "label": labels, "label_name": names}
        table = pa.table(columns | {"domain": domains, "split": splits})
        path = tmp_path / "images.parquet"
        pq.write_table(table.drop_columns([drop]) if drop else table, path)
        return str(path)

    return file


def test_domains_and_classes_are_in_order(write: Write) -> None:
    rows = [(2, "apple", "sketch", "train"), (0, "zebra", "clipart", "train"), (1, "moon", "real", "test")]
    dataset = ParquetDataset(write(rows), 4)
    assert dataset.domains == ("clipart", "real", "sketch")
    assert dataset.classes == ("zebra", "moon", "apple")


def test_labels_are_those_of_a_domain_and_split_in_file_order(write: Write) -> None:
    rows = [(1, "b", "x", "train"), (0, "a", "y", "train"), (0, "a", "x", "train"), (1, "b", "x", "test")]
    dataset = ParquetDataset(write(rows), 4)
    assert dataset.labels("x", "train").tolist() == [1, 0]
    assert dataset.labels("x", "train").dtype == np.int64
    assert dataset.labels("x", "test").tolist() == [1]
    assert dataset.labels("y", "validation").tolist() == []


def test_images_are_decoded_in_the_order_asked_for(world: Path) -> None:
    path = world / "shapes.parquet"
    rows = [row for row in pq.read_table(path).to_pylist() if (row["domain"], row["split"]) == ("noisy", "train")]
    dataset = ParquetDataset(str(path), 16)
    found = dataset.images("noisy", "train", np.array([5, 0, 23]))
    assert found.shape == (3, 3, 16, 16)
    assert found.dtype == np.uint8
    for image, index in zip(found, (5, 0, 23), strict=True):
        expected = np.asarray(Image.open(io.BytesIO(rows[index]["image"])))
        assert image.transpose(1, 2, 0).tolist() == expected.tolist()
        assert dataset.labels("noisy", "train")[index] == rows[index]["label"]


def test_images_of_another_size_are_resized(world: Path) -> None:
    path = world / "shapes.parquet"
    (row,) = [row for row in pq.read_table(path).to_pylist() if row["source"] == "circle-dark-test-0"]
    found = ParquetDataset(str(path), 10).images("dark", "test", np.array([2]))
    expected = Image.open(io.BytesIO(row["image"])).resize((10, 10), Image.Resampling.BICUBIC)
    assert found[0].transpose(1, 2, 0).tolist() == np.asarray(expected).tolist()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_images_of_any_mode_become_rgb(mode: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 200, 200)).convert(mode).save(buffer, "PNG")
    columns = {"image": [buffer.getvalue()], "label": [0], "label_name": ["a"], "domain": ["x"], "split": ["train"]}
    pq.write_table(pa.table(columns), tmp_path / "one.parquet")
    found = ParquetDataset(str(tmp_path / "one.parquet"), 4).images("x", "train", np.array([0]))
    assert found.shape == (1, 3, 4, 4)
    assert np.abs(found.astype(int) - 200).max() <= 5


def test_a_configuration_opens_its_data_set(world: Path) -> None:
    dataset = open_dataset(DatasetConfig(root=str(world / "shapes.parquet")), 8)
    assert dataset.domains == ("dark", "light", "noisy")
    assert dataset.images("dark", "test", np.array([0])).shape == (1, 3, 8, 8)


def test_an_unknown_option_is_refused(world: Path) -> None:
    config = DatasetConfig(root=str(world / "shapes.parquet"), options={"colour": "red"})
    with pytest.raises(SettingError, match=r"dataset.options.colour=red: ParquetDataset has no such option"):
        open_dataset(config, 8)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(SettingError, match=r"dataset.root=/nowhere/at.all: no such Parquet file"):
        ParquetDataset("/nowhere/at.all", 8)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("not Parquet at all")
    with pytest.raises(SettingError, match="is not a readable Parquet file") as refusal:
        ParquetDataset(str(tmp_path / "text.parquet"), 8)
    assert refusal.value.args[:2] == ("dataset.root", str(tmp_path / "text.parquet"))


@pytest.mark.parametrize("column", ["image", "label", "label_name", "domain", "split"])
def test_a_missing_column_is_named(column: str, write: Write) -> None:
    root = write([(0, "a", "x", "train")], drop=column)
    with pytest.raises(SettingError, match=f"lacks the columns {column}$"):
        ParquetDataset(root, 8)


@pytest.mark.parametrize(
    "rows",
    [
        [(0, "a", "x", "train"), (2, "b", "x", "train")],
        [(1, "a", "x", "train"), (2, "b", "x", "train")],
        [(0, "a", "x", "train"), (0, "b", "x", "train")],
    ],
    ids=["gap", "from one", "two names"],
)
def test_labels_that_do_not_number_the_classes_are_refused(rows: list[tuple[int, str, str, str]], write: Write) -> None:
    with pytest.raises(SettingError, match="labels must be 0, 1, 2"):
        ParquetDataset(write(rows), 8)
