"""Encoded images by row groups: what is read how often, what is kept, damage, and images beside the files."""

import io
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from in_process import InProcess, finish, table
from PIL import Image

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig, ExperimentConfig
from fedra_ray.data import parquet_images
from fedra_ray.data.examples import Examples
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.parquet_images import EncodedImages
from fedra_ray.data.source import ImageSource

ROWS, WEIGHT = 120, 1000  # images, and bytes of each at least


def png(value: int, weight: int = WEIGHT) -> bytes:
    """A 4 x 4 image of one grey, and bytes behind it that no decoder reads."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue() + np.random.default_rng(value).bytes(weight)


def write(file: Path, group: int, **columns: Any) -> Path:
    """The n-th image has the grey n."""
    table = {"image": [png(number) for number in range(ROWS)], "label": [0, 1] * (ROWS // 2), "domain": ["x"] * ROWS}
    file.parent.mkdir(exist_ok=True)
    pq.write_table(
        pa.table(table | {"split": ["train"] * ROWS} | columns),
        file,
        group,
        compression="NONE",
        write_page_checksum=True,
    )
    return file


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each row group was read."""
    counts: Counter[int] = Counter()
    original = EncodedImages._columns

    def counted(self: EncodedImages, group: int, rows: int, in_parts: bool) -> Any:
        counts[group] += 1
        return original(self, group, rows, in_parts)

    monkeypatch.setattr(EncodedImages, "_columns", counted)
    return counts


def greys_of_a_pass(dataset: ParquetDataset, order: list[np.ndarray]) -> list[int]:
    source = ImageSource(dataset, DatasetConfig(memory_mb=0), 4)
    one = torch.ones(3, 1, 1)
    examples = Examples(source, "train", [("x", np.arange(ROWS))], 0 * one, one / 255)
    return [round(float(grey)) for batch in examples.batches(order) for grey in batch.inputs[:, 0, 0, 0]]


def shuffled(size: int) -> list[np.ndarray]:
    return np.split(np.random.default_rng(0).permutation(ROWS), range(size, ROWS, size))


def limit(monkeypatch: pytest.MonkeyPatch, kept: int, small: int, chunk: int = 5 * WEIGHT) -> None:
    monkeypatch.setattr(parquet_images, "KEPT_BYTES", kept)
    monkeypatch.setattr(parquet_images, "SMALL_BYTES", small)
    monkeypatch.setattr(parquet_images, "_CHUNK_BYTES", chunk)


@pytest.mark.parametrize("group", [1, 7, 40, ROWS])
@pytest.mark.parametrize("small", [0, 10**9], ids=["in parts", "whole"])
def test_a_pass_reads_a_row_group_once(
    group: int, small: int, tmp_path: Path, read: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 200 * WEIGHT, small)
    dataset = ParquetDataset(str(write(tmp_path / "a.parquet", group)), 4)
    order = shuffled(8)
    assert greys_of_a_pass(dataset, order) == np.concatenate(order).tolist()
    assert set(read.values()) == {1}
    assert len(read) == -(-ROWS // group)


@pytest.mark.parametrize("small", [0, 10**9], ids=["in parts", "whole"])
def test_no_more_is_kept_than_the_bound(
    small: int, tmp_path: Path, read: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a pass fits: a group is read for each part of the pass, and not for each batch."""
    limit(monkeypatch, ROWS * (WEIGHT + 100) // 4, small)
    dataset = ParquetDataset(str(write(tmp_path / "a.parquet", 40)), 4)
    order, most = shuffled(4), []
    original = EncodedImages._keep

    def keep(self: EncodedImages, *arguments: Any) -> None:
        original(self, *arguments)
        most.append(self._kept_bytes)
        assert self._kept_bytes == sum(len(image) for image in self._kept.values())

    monkeypatch.setattr(EncodedImages, "_keep", keep)
    assert greys_of_a_pass(dataset, order) == np.concatenate(order).tolist()
    assert max(most) <= ROWS * (WEIGHT + 100) // 4
    assert max(read.values()) <= 6


def test_a_hostile_size_does_not_lift_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are all the same take a dictionary's few bytes in the file."""
    limit(monkeypatch, 20 * WEIGHT, 0)
    dataset = ParquetDataset(str(write(tmp_path / "a.parquet", ROWS, image=[png(7)] * ROWS)), 4)
    assert set(greys_of_a_pass(dataset, shuffled(8))) == {7}
    assert dataset._encoded._kept_bytes <= 20 * WEIGHT


def test_images_asked_for_without_a_word_are_not_read_again(
    tmp_path: Path, read: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 200 * WEIGHT, 0)
    dataset = ParquetDataset(str(write(tmp_path / "a.parquet", 40)), 4)
    for batch in shuffled(8):
        assert dataset.images("x", "train", batch)[:, 0, 0, 0].tolist() == batch.tolist()
    assert set(read.values()) == {1}


def damaged(file: Path, number: int) -> Path:
    content = bytearray(file.read_bytes())
    content[content.index(png(number)[-100:])] ^= 1
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("small", [0, 10**9], ids=["in parts", "whole"])
def test_every_image_of_a_damaged_row_group_is_counted(
    small: int, tmp_path: Path, read: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 500 * WEIGHT, small)
    file = tmp_path / "a.parquet"
    write(file, 40, image=pa.array([png(number) for number in range(ROWS)]))
    dataset = ParquetDataset(str(damaged(file, 70)), 4)
    source = ImageSource(dataset, DatasetConfig(on_error="skip"), 4)
    images, good, skipped = source.fetch(("x", "train"), np.arange(30, 90))
    assert good.tolist() == [True] * 10 + [False] * 40 + [True] * 10
    assert images[good][:, 0, 0, 0].tolist() == [*range(30, 40), *range(80, 90)]
    assert [name for name, _ in skipped] == [f"{file}, row group 1: row {row}" for row in range(40, 80)]
    assert {reason for _, reason in skipped} == {skipped[0][1]}
    assert "CRC" in skipped[0][1]
    assert max(read.values()) <= 2


def test_large_row_groups_are_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.parquet", ROWS)
    assert ParquetDataset(str(file), 4).notes == ()
    monkeypatch.setattr("fedra_ray.data.parquet_groups.LARGE_BYTES", 50 * WEIGHT)
    (note,) = ParquetDataset(str(file), 4).notes
    assert note.startswith("row groups have up to 120 images and 0 MB")
    assert "`fedra-ray prepare`" in note


def test_an_opened_data_set_travels_without_what_it_keeps(tmp_path: Path) -> None:
    dataset = ParquetDataset(str(write(tmp_path / "a.parquet", 40)), 4)
    dataset.images("x", "train", np.arange(9))
    assert dataset.portable
    sent = pickle.dumps(dataset)
    assert len(sent) < 20 * WEIGHT
    there = pickle.loads(sent)
    assert there.images("x", "train", np.array([5]))[0, 0, 0, 0] == 5
    assert (there.domains, there.classes, there.notes) == (dataset.domains, dataset.classes, dataset.notes)


def test_many_files_are_not_open_at_once(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / "data" / f"{number}.parquet", ROWS)
    dataset = ParquetDataset(str(tmp_path / "data"), 4)
    before = len(list(Path("/proc/self/fd").iterdir()))
    dataset.images("x", "train", np.arange(0, 50 * ROWS, ROWS))
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= parquet_images._OPEN_FILES


def without_bytes(paths: list[str | None]) -> pa.Array:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.array([{"bytes": None, "path": path} for path in paths], kind)


def write_paths(file: Path, paths: list[str | None]) -> Path:
    table = {"image": without_bytes(paths), "label": [0, 1] * (len(paths) // 2), "domain": ["x"] * len(paths)}
    pq.write_table(pa.table(table | {"split": ["train"] * len(paths)}), file)
    return file


@pytest.mark.parametrize("root", ["{}", "file://{}"], ids=["path", "URI"])
def test_images_without_bytes_are_read_beside_the_file(root: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in (3, 4):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(number))
    file = write_paths(tmp_path / "a.parquet", ["images/4.png", "images/3.png", "images/4.png", "images/gone.png"])
    dataset = ParquetDataset(root.format(file), 4)
    assert dataset.images("x", "train", np.arange(3))[:, 0, 0, 0].tolist() == [4, 3, 4]
    with pytest.raises(ImageError, match=r"a\.parquet, row 3, .*gone\.png: no such file"):
        dataset.images("x", "train", np.array([3]))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["/etc/hostname", "a.png"], "'/etc/hostname' must be a path below the folder"),
        (["a.png", "../a.png"], r"'\.\./a\.png' must be a path below the folder"),
        (["a.png", "b/../../a.png"], "must be a path below the folder"),
        (["gone.png", "a.png"], r"paths without bytes, and there is no file gone\.png beside it"),
        (["a.png", None], "neither bytes nor paths in row group 0"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused_at_opening(
    paths: list[str | None], message: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for place in (tmp_path, tmp_path / "data"):
        (place / "a.png").write_bytes(png(1))
    with pytest.raises(SettingError, match=message) as refusal:
        ParquetDataset(str(write_paths(tmp_path / "data" / "a.parquet", paths)), 4)
    assert "a.parquet" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_run_counts_every_image_of_a_damaged_row_group(config: ExperimentConfig, world: Path, tmp_path: Path) -> None:
    rows = pq.read_table(world / "shapes.parquet")
    file = tmp_path / "shapes.parquet"
    pq.write_table(rows, file, row_group_size=12, compression="NONE", use_dictionary=False, write_page_checksum=True)
    images = pq.ParquetFile(file).metadata.row_group(4).column(rows.column_names.index("image"))
    content = bytearray(file.read_bytes())
    content[images.data_page_offset + images.total_compressed_size // 2] ^= 1
    file.write_bytes(content)
    config.dataset.root, config.dataset.on_error = str(file), "skip"
    config.fleet.clients_per_round = config.training.max_steps = None
    finish(InProcess(config), tmp_path / "run")
    used = {row for row in range(48, 60) if rows["split"][row].as_py() in ("train", config.evaluation.split)}
    assert {row["image"] for row in table(tmp_path / "run", "skipped")} == {
        f"{file}, row group 4: row {row}" for row in used
    }
    assert used
