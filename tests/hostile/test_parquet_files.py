"""Parquet files of a stranger: a `SettingError` when they are opened, or an `ImageError` that names file and place."""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.source import ImageSource

ROWS = 6


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


COLUMNS: dict[str, Any] = {
    "image": pa.array([png(10 * number) for number in range(ROWS)]),
    "label": pa.array([0, 1] * 3),
    "label_name": pa.array(["cat", "dog"] * 3),
    "domain": pa.array(["x", "x", "y", "y", "x", "y"]),
    "split": pa.array(["train"] * 4 + ["test"] * 2),
}


def parquet(metadata: dict[bytes, bytes] | None = None, **changed: Any) -> bytes:
    """A file of six images in row groups of two; columns may be replaced, or dropped with None."""
    columns = {name: values for name, values in (COLUMNS | changed).items() if values is not None}
    buffer = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, buffer, row_group_size=2, compression="NONE", write_page_checksum=True)
    return buffer.getvalue()


WHOLE = parquet()


def with_twice(name: str) -> bytes:
    table = pa.table(COLUMNS)
    buffer = io.BytesIO()
    pq.write_table(table.append_column(name, table[name]), buffer)
    return buffer.getvalue()


def with_row_count(rows: int) -> bytes:
    """The same bytes with a footer that claims this many rows; both counts are varints of one byte before."""
    (length,) = struct.unpack("<I", WHOLE[-8:-4])
    footer = WHOLE[-8 - length : -8]
    place = footer.index(bytes([0x16, 2 * ROWS, 0x19]))  # num_rows: field of type i64, zigzag; then the row groups
    zigzag, varint = 2 * rows, b""
    while zigzag > 127:
        varint += bytes([zigzag & 127 | 128])
        zigzag >>= 7
    changed = footer[: place + 1] + varint + bytes([zigzag]) + footer[place + 2 :]
    return WHOLE[: -8 - length] + changed + struct.pack("<I", len(changed)) + b"PAR1"


def no_row_groups() -> bytes:
    buffer = io.BytesIO()
    pq.ParquetWriter(buffer, pa.table(COLUMNS).schema).close()
    return buffer.getvalue()


def nested(kind: pa.DataType) -> pa.Array:
    return pa.array([[1]] * ROWS, kind)


LISTED = pa.list_(pa.int64())

REFUSED: dict[str, bytes] = {
    **{f"cut at {tenth}0%": WHOLE[: len(WHOLE) * tenth // 10] for tenth in range(10)},
    "cut before the last byte": WHOLE[:-1],
    "magic alone": b"PAR1",
    "magic twice": b"PAR1PAR1",
    "a footer longer than the file": WHOLE[:-8] + struct.pack("<I", 2**31) + b"PAR1",
    "an encrypted footer": WHOLE[:-4] + b"PARE",
    "a footer of zeros": b"PAR1" + b"\0" * 100 + struct.pack("<I", 100) + b"PAR1",
    "text": b"image,label\n",
    "10^9 rows claimed": with_row_count(10**9),
    "one row more claimed": with_row_count(ROWS + 1),
    "one row less claimed": with_row_count(ROWS - 1),
    "no rows": parquet(**{name: values[:0] for name, values in COLUMNS.items()}),
    "no row groups": no_row_groups(),
    **{f"two columns {name}": with_twice(name) for name in COLUMNS},
    **{f"no {name}": parquet(**{name: None}) for name in ("image", "label", "domain")},
    **{f"{name} null": parquet(**{name: pa.nulls(ROWS)}) for name in COLUMNS},
    **{f"{name} a list": parquet(**{name: nested(LISTED)}) for name in COLUMNS},
    **{f"{name} a struct": parquet(**{name: pa.array([{"a": {"b": 1}}] * ROWS)}) for name in COLUMNS},
    **{f"{name} truths": parquet(**{name: pa.array([True, False] * 3)}) for name in COLUMNS},
    **{f"{name} dates": parquet(**{name: pa.array([0] * ROWS, pa.date32())}) for name in COLUMNS},
    **{
        f"{name} partly null": parquet(**{name: pa.array([None, *COLUMNS[name][1:].to_pylist()])})
        for name in ("label", "label_name", "domain", "split")
    },
    "label fractions": parquet(label=pa.array([0.0, 1.0] * 3)),
    "label not numbers": parquet(label=pa.array([float("nan")] * ROWS)),
    "label negative": parquet(label=pa.array([-1, 0] * 3)),
    "label 10^18": parquet(label=pa.array([0, 10**18] * 3)),
    "label 2^64-1": parquet(label=pa.array([0, 2**64 - 1] * 3, pa.uint64())),
    "label null in a dictionary": parquet(label=pa.array([None, "a"] * 3).dictionary_encode()),
    "label of two names": parquet(label_name=pa.array(["cat", "dog", "cow"] * 2)),
    "label bytes": parquet(label=pa.array([b"a", b"b"] * 3)),
    "image paths": parquet(image=pa.array(["/etc/hostname"] * ROWS)),
    "image a struct of paths": parquet(image=pa.array([{"path": "/etc/hostname"}] * ROWS)),
    "image a struct of text": parquet(image=pa.array([{"bytes": "/etc/hostname"}] * ROWS)),
    "split unknown": parquet(split=pa.array(["\x1b[31m" + "x" * 10_000] * ROWS)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_file_is_refused_when_it_is_opened(case: str, tmp_path: Path) -> None:
    (tmp_path / "images.parquet").write_bytes(REFUSED[case])
    with pytest.raises(SettingError) as refusal:
        ParquetDataset(str(tmp_path / "images.parquet"), 4)
    assert refusal.value.args[0] == "dataset.root"
    assert len(str(refusal.value)) < 1000


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    buffer = io.BytesIO()
    table = pa.table(COLUMNS | {"domain": pa.array(["QQQQ"] * ROWS)})
    pq.write_table(table, buffer, compression="NONE", write_statistics=False)
    file.write_bytes(buffer.getvalue().replace(b"QQQQ", b"\xff\xfe\xff\xfe"))
    with pytest.raises(SettingError, match=r"images\.parquet is not readable as Parquet: .*UTF"):
        ParquetDataset(str(file), 4)


def test_each_file_of_a_folder_is_looked_at(tmp_path: Path) -> None:
    """The first is good; in the second, images are paths of this machine."""
    (tmp_path / "a.parquet").write_bytes(WHOLE)
    (tmp_path / "b.parquet").write_bytes(REFUSED["image paths"])
    with pytest.raises(SettingError, match=r"b\.parquet: column image must have encoded images"):
        ParquetDataset(str(tmp_path), 4)


METADATA = {
    "no JSON": b"{",
    "no object": b"[1, 2]",
    "a number": b"7",
    "not UTF-8": b"\xff\xfe",
    "nested beyond any reason": b"[" * 100_000,
    "features a list": b'{"info": {"features": []}}',
    "names a number": b'{"info": {"features": {"label": {"names": 7}}}}',
    "names twice the same": b'{"info": {"features": {"label": {"names": ["a", "a"]}}}}',
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_makes_no_sense_names_nothing(case: str, tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    file.write_bytes(parquet({b"huggingface": METADATA[case]}, label_name=None))
    assert ParquetDataset(str(file), 4).classes == ("0", "1")


def every_image(dataset: ParquetDataset) -> list[int]:
    keys = [(domain, split) for domain in dataset.domains for split in ("train", "test")]
    return [
        value
        for key in keys
        for value in dataset.images(*key, np.arange(len(dataset.labels(*key))))[:, 0, 0, 0].tolist()
    ]


@pytest.mark.parametrize("number", range(3))
def test_damaged_bytes_of_a_row_group_are_noticed_by_their_checksum(number: int, tmp_path: Path) -> None:
    """The damaged byte is a grey that any decoder would take."""
    content = bytearray(WHOLE)
    content[WHOLE.index(png(20 * number)) + 20] ^= 1
    file = tmp_path / "images.parquet"
    file.write_bytes(content)
    dataset = ParquetDataset(str(file), 4)
    with pytest.raises(ImageError, match=rf"images\.parquet, row group {number}: .*(CRC|checksum)"):
        every_image(dataset)


def test_damaged_images_are_counted_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    file.write_bytes(parquet(image=pa.array([b"", None, b"<html>", png(1), png(2), png(3)])))
    config = DatasetConfig(root=str(file), on_error="skip")
    source = ImageSource(ParquetDataset(str(file), 4), config, 4)
    fetched = [source.fetch((domain, "train"), np.arange(2)) for domain in ("x", "y")]
    assert [good.tolist() for _, good, _ in fetched] == [[False, False], [False, True]]
    names = [name for _, _, skipped in fetched for name, _ in skipped]
    assert names == [f"{file}, row {row}" for row in (0, 1, 2)]


def test_links_that_lead_back_up_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.parquet").write_bytes(WHOLE)
    for name in ("b", "c"):  # two of them would double the work at every level
        (tmp_path / "data" / name).symlink_to(tmp_path)
    assert len(every_image(ParquetDataset(str(tmp_path), 4))) == ROWS


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [make_pipe, make_loop, Path.mkdir, Path.touch], ids=lambda make: make.__name__)
@pytest.mark.parametrize("root", [".", "images.parquet"])
def test_what_is_no_parquet_file_is_refused_at_once(make: Callable[[Path], None], root: str, tmp_path: Path) -> None:
    make(tmp_path / "images.parquet")
    with pytest.raises(SettingError, match=r"dataset\.root"):
        ParquetDataset(str(tmp_path / root), 4)


@given(
    length=st.integers(0, len(WHOLE)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    end=st.sampled_from([b"", WHOLE[-8:]]),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_gives_images_or_a_clear_error(
    length: int, changes: list[tuple[int, int]], end: bytes, tmp_path: Path
) -> None:
    content = bytearray(WHOLE)
    for place, value in changes:
        content[-1 - place % len(content)] = value
    (tmp_path / "images.parquet").write_bytes(bytes(content[:length]) + end if length < len(WHOLE) else content)
    try:
        images = every_image(ParquetDataset(str(tmp_path / "images.parquet"), 4))
    except (SettingError, ImageError):
        return
    assert len(images) <= ROWS


@given(content=st.binary(max_size=200))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_file_are_refused(content: bytes, tmp_path: Path) -> None:
    for framed in (content, b"PAR1" + content + struct.pack("<I", len(content)) + b"PAR1"):
        (tmp_path / "images.parquet").write_bytes(framed)
        with pytest.raises(SettingError):
            ParquetDataset(str(tmp_path / "images.parquet"), 4)
