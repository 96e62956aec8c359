# Long: every layout of Parquet folders and files that people have, case by case.
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.dataset import open_dataset
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.prepare import manifest


def png(value: int) -> bytes:
    """A 4 x 4 image of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def table(rows: list[tuple[Any, ...]], names: tuple[str, ...] = ("label", "label_name", "domain", "split")) -> pa.Table:
    """A row an image; the n-th image has the grey n."""
    columns: dict[str, Any] = {"image": [png(number) for number in range(len(rows))]}
    return pa.table(columns | dict(zip(names, zip(*rows, strict=True), strict=True)))


def greys(dataset: ParquetDataset, domain: str, split: str) -> list[int]:
    """Which images a domain and split have, in order."""
    images = dataset.images(domain, split, np.arange(len(dataset.labels(domain, split))))
    return images[:, 0, 0, 0].tolist()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "images.parquet"


ROWS = [
    (1, "b", "x", "train"),
    (0, "a", "y", "train"),
    (0, "a", "x", "train"),
    (1, "b", "x", "test"),
    (1, "b", "y", "val"),
]


def test_domains_and_classes_are_in_order(file: Path) -> None:
    rows = [(2, "apple", "sketch", "train"), (0, "zebra", "clipart", "train"), (1, "moon", "real", "test")]
    pq.write_table(table(rows), file)
    dataset = ParquetDataset(str(file), 4)
    assert dataset.domains == ("clipart", "real", "sketch")
    assert dataset.classes == ("zebra", "moon", "apple")


def test_labels_are_those_of_a_domain_and_split_in_file_order(file: Path) -> None:
    pq.write_table(table(ROWS), file)
    dataset = ParquetDataset(str(file), 4)
    assert dataset.labels("x", "train").tolist() == [1, 0]
    assert dataset.labels("x", "train").dtype == np.int64
    assert dataset.labels("x", "test").tolist() == [1]
    assert dataset.labels("y", "validation").tolist() == [1]
    assert dataset.labels("y", "test").tolist() == []
    assert greys(dataset, "x", "train") == [0, 2]


def test_images_are_decoded_in_the_order_asked_for(world: Path) -> None:
    path = world / "shapes.parquet"
    rows = [row for row in pq.read_table(path).to_pylist() if (row["domain"], row["split"]) == ("noisy", "train")]
    dataset = ParquetDataset(str(path), 16)
    found = dataset.images("noisy", "train", np.array([5, 0, 23, 5]))
    assert found.shape == (4, 3, 16, 16)
    assert found.dtype == np.uint8
    for image, index in zip(found, (5, 0, 23, 5), strict=True):
        expected = np.asarray(Image.open(io.BytesIO(rows[index]["image"])))
        assert image.transpose(1, 2, 0).tolist() == expected.tolist()
        assert dataset.labels("noisy", "train")[index] == rows[index]["label"]


def test_images_of_another_size_are_resized(world: Path) -> None:
    path = world / "shapes.parquet"
    (row,) = [row for row in pq.read_table(path).to_pylist() if row["source"] == "circle-dark-test-0"]
    found = ParquetDataset(str(path), 10).images("dark", "test", np.array([2]))
    expected = Image.open(io.BytesIO(row["image"])).resize((10, 10), Image.Resampling.BICUBIC)
    assert found[0].transpose(1, 2, 0).tolist() == np.asarray(expected).tolist()


def test_a_folder_is_read_in_the_order_of_its_files(tmp_path: Path) -> None:
    whole = table(ROWS)
    (tmp_path / "b").mkdir()
    pq.write_table(whole.slice(0, 2), tmp_path / "a.parquet")
    pq.write_table(whole.slice(2, 2), tmp_path / "b" / "c.parquet", row_group_size=1)
    pq.write_table(whole.slice(4), tmp_path / "d.parquet")
    (tmp_path / "readme.md").write_text("not Parquet")
    dataset = ParquetDataset(str(tmp_path), 4)
    assert (dataset.domains, dataset.classes) == (("x", "y"), ("a", "b"))
    assert greys(dataset, "x", "train") == [0, 2]
    assert greys(dataset, "x", "test") == [3]
    assert greys(dataset, "y", "validation") == [4]


def test_a_uri_names_a_file(file: Path) -> None:
    pq.write_table(table(ROWS), file)
    assert ParquetDataset(file.as_uri(), 4).domains == ("x", "y")


def export(rows: list[tuple[int, int]], domain_names: list[str] | None) -> pa.Table:
    """As the Hugging Face Hub has it: an image struct, and class names in the schema's metadata."""
    label, domain = zip(*rows, strict=True)
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(len(rows))]
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"},
        "domain": {"names": domain_names, "_type": "ClassLabel"},
    }
    if domain_names is None:
        features["domain"] = {"dtype": "int64", "_type": "Value"}
    found = pa.table({"image": images, "domain": domain, "label": label})
    return found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def test_an_export_of_hugging_face_says_names_and_splits(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    names = ["clipart", "real"]
    pq.write_table(export([(0, 0), (1, 1)], names), tmp_path / "data" / "test-00000-of-00001.parquet")
    pq.write_table(export([(0, 1), (2, 1)], names), tmp_path / "data" / "train-00000-of-00002.parquet")
    pq.write_table(export([(1, 0)], names), tmp_path / "data" / "train-00001-of-00002.parquet")
    dataset = ParquetDataset(str(tmp_path), 4)
    assert dataset.classes == ("cat", "dog", "eel")
    assert dataset.domains == ("clipart", "real")
    assert dataset.labels("real", "train").tolist() == [0, 2]
    assert dataset.labels("clipart", "train").tolist() == [1]
    assert [dataset.labels(domain, "test").tolist() for domain in dataset.domains] == [[0], [1]]
    assert [dataset.labels(domain, "validation").tolist() for domain in dataset.domains] == [[], []]
    assert greys(dataset, "real", "train") == [0, 1]


def test_numbers_without_names_are_their_own_names(tmp_path: Path) -> None:
    pq.write_table(export([(0, 7), (1, 3)], None), tmp_path / "train.parquet")
    dataset = ParquetDataset(str(tmp_path / "train.parquet"), 4)
    assert dataset.domains == ("3", "7")
    pq.write_table(table([(0, "x"), (1, "x")], ("label", "domain")), tmp_path / "train.parquet")
    assert ParquetDataset(str(tmp_path / "train.parquet"), 4).classes == ("0", "1")


def test_a_domain_beyond_the_names_is_refused(tmp_path: Path) -> None:
    pq.write_table(export([(0, 0), (1, 2)], ["clipart", "real"]), tmp_path / "train.parquet")
    with pytest.raises(SettingError, match="has domains outside its 2 names"):
        ParquetDataset(str(tmp_path / "train.parquet"), 4)


def test_the_first_of_many_named_classes_are_enough(file: Path) -> None:
    pq.write_table(export([(0, 0), (1, 0)], ["clipart"]), file)
    assert ParquetDataset(str(file), 4).classes == ("cat", "dog")


@pytest.mark.parametrize("encoded", [False, True], ids=["text", "dictionary"])
def test_labels_can_be_text(encoded: bool, file: Path) -> None:
    written = table([("dog", "x", "train"), ("ant", "x", "train"), ("dog", "y", "train")], ("label", "domain", "split"))
    if encoded:
        for name in ("label", "domain", "split"):
            written = written.set_column(written.schema.get_field_index(name), name, written[name].dictionary_encode())
    pq.write_table(written, file)
    dataset = ParquetDataset(str(file), 4)
    assert dataset.classes == ("ant", "dog")
    assert dataset.labels("x", "train").tolist() == [1, 0]
    assert dataset.labels("y", "train").tolist() == [1]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64()], ids=str)
def test_labels_can_be_any_integers(kind: pa.DataType, file: Path) -> None:
    written = table(ROWS)
    pq.write_table(written.set_column(1, "label", written["label"].cast(kind)), file)
    labels = ParquetDataset(str(file), 4).labels("x", "train")
    assert (labels.tolist(), labels.dtype) == ([1, 0], np.int64)


def test_columns_can_have_other_names(file: Path) -> None:
    pq.write_table(table(ROWS).rename_columns(["jpg", "number", "word", "style", "part"]), file)
    names = {"image": "jpg", "label": "number", "label_name": "word", "domain": "style", "split": "part"}
    config = DatasetConfig(root=str(file), options={"columns": names})
    dataset = open_dataset(config, 4)
    assert (dataset.domains, dataset.classes) == (("x", "y"), ("a", "b"))
    assert dataset.images("x", "test", np.array([0]))[0, 0, 0, 0] == 3


def test_an_unknown_column_to_rename_is_refused(file: Path) -> None:
    with pytest.raises(SettingError, match=r"dataset.options.columns.pixels=jpg: must be one of label, .*, image"):
        ParquetDataset(str(file), 4, columns={"pixels": "jpg"})


@pytest.mark.parametrize("column", ["image", "label", "domain"])
def test_a_missing_column_is_named_with_those_found(column: str, file: Path) -> None:
    written = table(ROWS).drop_columns([column])
    pq.write_table(written, file)
    message = f"lacks the columns {column}; its columns are {', '.join(written.column_names)}; dataset.options.columns"
    with pytest.raises(SettingError, match=message):
        ParquetDataset(str(file), 4)


@pytest.mark.parametrize("column", ["label", "label_name", "domain", "split"])
def test_empty_values_are_refused(column: str, file: Path) -> None:
    written = table(ROWS).to_pylist()
    written[3][column] = None
    pq.write_table(pa.Table.from_pylist(written), file)
    with pytest.raises(SettingError, match=f"the column {column} has empty values"):
        ParquetDataset(str(file), 4)


def test_a_column_that_one_file_lacks_is_refused(tmp_path: Path) -> None:
    pq.write_table(table(ROWS), tmp_path / "a.parquet")
    pq.write_table(table(ROWS).drop_columns(["domain"]), tmp_path / "b.parquet")
    with pytest.raises(SettingError, match=r"b\.parquet lacks the columns domain; its columns are image, label"):
        ParquetDataset(str(tmp_path), 4)


@pytest.mark.parametrize("images", [["a.png"] * 5, [{"path": "a.png"}] * 5, [[1, 2]] * 5], ids=["text", "path", "list"])
def test_a_column_without_encoded_images_is_refused(images: list[Any], file: Path) -> None:
    pq.write_table(table(ROWS).set_column(0, "image", pa.array(images)), file)
    with pytest.raises(SettingError, match="column image must have encoded images, or a struct with their `bytes`"):
        ParquetDataset(str(file), 4)


def test_unknown_splits_are_named(file: Path) -> None:
    pq.write_table(table([(0, "a", "x", "train"), (0, "a", "x", "holdout"), (0, "a", "x", "extra")]), file)
    with pytest.raises(SettingError, match=r"splits must be train, validation or test; there is extra, holdout"):
        ParquetDataset(str(file), 4)


@pytest.mark.parametrize("name", ["val", "valid", "dev", "validation"])
def test_the_validation_split_has_many_names(name: str, tmp_path: Path) -> None:
    pq.write_table(table([(0, "x")], ("label", "domain")), tmp_path / f"{name}-00000-of-00001.parquet")
    pq.write_table(table([(0, "x"), (0, "x")], ("label", "domain")), tmp_path / "train-00000-of-00001.parquet")
    dataset = ParquetDataset(str(tmp_path), 4)
    assert [len(dataset.labels("x", split)) for split in ("train", "validation", "test")] == [2, 1, 0]


def test_folders_below_the_root_tell_splits_too(tmp_path: Path) -> None:
    """The innermost one does."""
    for split, count in (("train", 3), ("test", 2)):
        (tmp_path / "dev-kit" / split).mkdir(parents=True)
        rows = [(0, "x")] * count
        pq.write_table(table(rows, ("label", "domain")), tmp_path / "dev-kit" / split / "0000.parquet")
    dataset = ParquetDataset(str(tmp_path), 4)
    assert [len(dataset.labels("x", split)) for split in ("train", "validation", "test")] == [3, 0, 2]


@pytest.mark.parametrize("single", [True, False], ids=["file", "folder"])
def test_shares_are_held_out_if_nothing_tells_the_splits(single: bool, tmp_path: Path) -> None:
    """Folders above the root, as here `test`, say nothing about it."""
    folder = tmp_path / "test" / "train-data"
    folder.mkdir(parents=True)
    rows = [(label, domain) for label in (0, 1) for domain in "xy" for _ in range(20)]
    pq.write_table(table(rows, ("label", "domain")), folder / "images.parquet")
    root = str(folder / "images.parquet" if single else folder)
    dataset, again = (ParquetDataset(root, 4, test=0.25, validation=0.1) for _ in range(2))
    for domain in "xy":
        counts = {split: Counter(dataset.labels(domain, split).tolist()) for split in ("train", "validation", "test")}
        assert counts == {"train": {0: 13, 1: 13}, "validation": {0: 2, 1: 2}, "test": {0: 5, 1: 5}}
        assert greys(dataset, domain, "test") == greys(again, domain, "test")
        parts = [greys(dataset, domain, split) for split in ("train", "validation", "test")]
        assert len({grey for part in parts for grey in part}) == 40


@pytest.fixture
def groups_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """Row groups and columns that were read, in order."""
    read: list[tuple[int, Any]] = []
    original = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, number: int, columns: Any = None, **options: Any) -> pa.Table:
        read.append((number, columns))
        return original(self, number, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    return read


def test_only_row_groups_with_images_asked_for_are_read(file: Path, groups_read: list[tuple[int, Any]]) -> None:
    rows = [(0, "a", "xy"[number >= 20], "train") for number in range(40)]
    pq.write_table(table(rows), file, row_group_size=5)
    dataset = ParquetDataset(str(file), 4)
    dataset.labels("x", "train")
    assert groups_read == []
    found = dataset.images("y", "train", np.array([19, 0, 17, 3]))
    assert found[:, 0, 0, 0].tolist() == [39, 20, 37, 23]
    assert sorted(groups_read) == [(4, ["image"]), (7, ["image"])]
    dataset.images("y", "train", np.array([1, 18]))
    assert len(groups_read) == 2


def test_an_unreadable_image_is_named_by_its_file_and_row(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written = table([(0, "a", "x", "train")] * 7).to_pylist()
        if name == "b":
            written[4]["image"] = written[4]["image"][:30]
            written[5]["image"] = None
        pq.write_table(pa.Table.from_pylist(written), tmp_path / f"{name}.parquet", row_group_size=3)
    dataset = ParquetDataset(str(tmp_path), 4)
    assert dataset.images("x", "train", np.array([*range(11), 13])).shape == (12, 3, 4, 4)
    for index, row in ((11, 4), (12, 5)):
        with pytest.raises(ImageError) as failure:
            dataset.images("x", "train", np.array([index]))
        assert failure.value.args[0] == f"{tmp_path}/b.parquet, row {row}"


def test_a_configuration_opens_its_data_set(world: Path) -> None:
    dataset = open_dataset(DatasetConfig(root=str(world / "shapes.parquet")), 8)
    assert dataset.domains == ("dark", "light", "noisy")
    assert dataset.images("dark", "test", np.array([0])).shape == (1, 3, 8, 8)


def test_an_unknown_option_is_refused(world: Path) -> None:
    config = DatasetConfig(root=str(world / "shapes.parquet"), options={"colour": "red"})
    with pytest.raises(SettingError, match=r"dataset.options.colour=red: ParquetDataset has no such option"):
        open_dataset(config, 8)


def test_a_missing_file_and_a_folder_without_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"dataset.root=/nowhere/at.all: no such Parquet file, nor a folder of them"):
        ParquetDataset("/nowhere/at.all", 8)
    with pytest.raises(SettingError, match="no such Parquet file, nor a folder of them"):
        ParquetDataset(str(tmp_path), 8)


def test_another_kind_of_file_is_refused(file: Path) -> None:
    file.write_text("not Parquet at all")
    with pytest.raises(SettingError, match="is not readable as Parquet: ") as refusal:
        ParquetDataset(str(file), 8)
    assert refusal.value.args[:2] == ("dataset.root", str(file))


def test_a_file_without_rows_is_refused(file: Path) -> None:
    pq.write_table(table(ROWS).slice(0, 0), file)
    with pytest.raises(SettingError, match="has no rows"):
        ParquetDataset(str(file), 8)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(-1, "a", "x", "train"), (0, "b", "x", "train")], "labels in column label go from -1 to 0"),
        ([(0, "a", "x", "train"), (1, "a ", "x", "train")], "gives the numbers 0 and 1 to classes of the same name, a"),
        ([(0, "Mug", "x", "train"), (1, "mug", "y", "train")], "has the classes 'Mug' and 'mug', which differ by case"),
        ([(0, "a", "Photo", "train"), (1, "b", "photo", "train")], "has the domains 'Photo' and 'photo', which differ"),
        ([(0, "a", "x", "train"), (0, "b", "x", "train")], "every label must have one name in column label_name"),
    ],
    ids=["negative", "one name", "case", "case of domains", "two names"],
)
def test_labels_that_do_not_number_the_classes_are_refused(
    rows: list[tuple[Any, ...]], message: str, file: Path
) -> None:
    pq.write_table(table(rows), file)
    with pytest.raises(SettingError, match=message):
        ParquetDataset(str(file), 8)


def write_prepared(folder: Path) -> list[Path]:
    """Two shards and their manifest, and a file that is not in it."""
    files = [folder / f"{name}.parquet" for name in ("one", "two")]
    for number, path in enumerate(files):
        pq.write_table(table([(number, "ab"[number], "x", "train")]), path)
    pq.write_table(table([(0, "a", "stray", "train")]), folder / "stray.parquet")
    shards = [{"file": path.name, "bytes": path.stat().st_size} for path in files]
    (folder / manifest.MANIFEST).write_text(json.dumps({"shards": shards}))
    return files


def test_of_a_prepared_folder_the_shards_of_its_manifest_are_read(tmp_path: Path) -> None:
    write_prepared(tmp_path)
    dataset = ParquetDataset(str(tmp_path), 4)
    assert dataset.domains == ("x",)
    assert dataset.labels("x", "train").tolist() == [0, 1]


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_prepared_folder_with_a_damaged_shard_is_refused(damage: str, tmp_path: Path) -> None:
    _, second = write_prepared(tmp_path)
    size = second.stat().st_size
    if damage == "missing":
        second.unlink()
    else:
        second.write_bytes(second.read_bytes()[:-1])
    message = f"two.parquet is missing or damaged: its manifest says {size} bytes"
    with pytest.raises(SettingError, match=message):
        ParquetDataset(str(tmp_path), 4)


def test_an_unfinished_preparation_is_refused(tmp_path: Path) -> None:
    write_prepared(tmp_path)
    (tmp_path / manifest.MANIFEST).rename(tmp_path / manifest.PLAN)
    with pytest.raises(SettingError, match="is not prepared to the end; run the same `fedra-ray prepare` again"):
        ParquetDataset(str(tmp_path), 4)
