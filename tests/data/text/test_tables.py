"""Texts of Parquet files and lines of JSON: what is read of them, and what is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from language_models import LETTERS, write_rows, write_tokenizer

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, DatasetConfig
from fedra_ray.data.opening import open_labelled
from fedra_ray.data.text.dataset import TextDataset
from fedra_ray.data.text.examples import TextExamples

ROWS = [
    {"text": "ab", "label": 1, "label_name": "pet", "domain": "sea", "split": "train"},
    {"text": "c d", "label": 0, "label_name": "cat", "domain": "land", "split": "train"},
    {"text": "efghij", "label": 0, "label_name": "cat", "domain": "sea", "split": "test"},
    {"text": "k", "label": 1, "label_name": "pet", "domain": "land", "split": "test"},
    {"text": "lm", "label": 1, "label_name": "pet", "domain": "sea", "split": "train"},
]
KINDS = {"text_parquet": ("TextParquet", "rows.parquet"), "jsonl": ("JsonLines", "rows.jsonl")}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


def opened(kind: str, root: Path, tokenizer: Path, length: int = 6, **options: Any) -> TextDataset:
    target = f"fedra_ray.data.text.tables.{KINDS[kind][0]}"
    config = DatasetConfig("texts", target, str(root), options)
    dataset = open_labelled(config, BackboneConfig(model=f"hf:{tokenizer}"), length)
    assert isinstance(dataset, TextDataset)
    return dataset


def letters(dataset: TextDataset, domain: str, split: str) -> list[str]:
    """The texts of a domain and split, read back from their tokens."""
    words = ["<", "_", ">", "?", *LETTERS]
    count = len(dataset.labels(domain, split))
    return ["".join(words[token] for token in tokens) for tokens in dataset.tokens(domain, split, np.arange(count))]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_come_as_tokens_by_domain_and_split(kind: str, tokenizer: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / KINDS[kind][1], ROWS)
    dataset = opened(kind, tmp_path / KINDS[kind][1], tokenizer)
    assert (dataset.domains, dataset.classes, dataset.noun) == (("land", "sea"), ("cat", "pet"), "texts")
    assert letters(dataset, "sea", "train") == ["<ab>", "<lm>"]
    assert letters(dataset, "land", "train") == ["<cd>"]
    assert letters(dataset, "sea", "test") == ["<efgh>"]  # six tokens at most, of which two are its ends
    assert dataset.labels("sea", "train").tolist() == [1, 1]
    assert [tokens.tolist() for tokens in dataset.tokens("sea", "train", np.array([1, 0]))] == [
        [0, 15, 16, 2],
        [0, 4, 5, 2],
    ]
    assert dataset.notes == ("1 of 5 texts have 6 tokens or more, and lose those beyond",)
    assert (dataset.padding, dataset.most, dataset.largest) == (1, 6, 16)


def test_the_tokens_go_to_another_process_without_the_files(tokenizer: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    dataset = opened("jsonl", tmp_path, tokenizer)
    (tmp_path / "rows.jsonl").unlink()
    assert dataset.portable
    assert letters(pickle.loads(pickle.dumps(dataset)), "land", "test") == ["<k>"]


def test_columns_are_renamed_and_one_domain_is_enough(tokenizer: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"sentence": text, "kind": kind} for text, kind in (("a", "y"), ("b", "x"))])
    write_rows(tmp_path / "test.jsonl.gz", [{"sentence": "c", "kind": "x"}])
    dataset = opened("jsonl", tmp_path, tokenizer, columns={"text": "sentence", "label": "kind", "domain": None})
    assert (dataset.domains, dataset.classes) == (("all",), ("x", "y"))
    assert letters(dataset, "all", "train") == ["<a>", "<b>"]
    assert dataset.labels("all", "train").tolist() == [1, 0]
    assert letters(dataset, "all", "test") == ["<c>"]


def test_names_of_an_export_s_metadata_are_taken(tokenizer: Path, tmp_path: Path) -> None:
    """The layout of GLUE's SST-2 on the hub: sentence, label, idx, and names in the schema."""
    features = {"label": {"names": ["negative", "positive"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split, labels in (("train", [0, 1]), ("validation", [1, 0]), ("test", [-1, -1])):
        table = pa.table({"sentence": ["a", "b"], "label": labels, "idx": [0, 1]}).replace_schema_metadata(metadata)
        (tmp_path / split).mkdir()
        pq.write_table(table, tmp_path / split / f"{split}-00000-of-00001.parquet")
    options = {"columns": {"text": "sentence", "domain": None}}
    dataset = opened("text_parquet", tmp_path, tokenizer, **options)
    assert dataset.classes == ("negative", "positive")
    assert dataset.labels("all", "validation").tolist() == [1, 0]
    assert len(dataset.labels("all", "test")) == 0
    assert dataset.notes == ("passed over 2 texts whose label is -1, which is none",)


def test_of_pairs_the_second_text_is_told_apart(tokenizer: Path, tmp_path: Path) -> None:
    rows = [row | {"answer": answer} for row, answer in zip(ROWS, ("x", "yz", "w", "v", "u"), strict=True)]
    write_rows(tmp_path / "rows.jsonl", rows)
    dataset = opened("jsonl", tmp_path, tokenizer, 9, columns={"second": "answer"})
    assert letters(dataset, "sea", "train") == ["<ab>x>", "<lm>u>"]
    assert letters(dataset, "sea", "test") == ["<efghi>w>"]  # the longer one loses its end
    assert dataset.first_lengths("sea", "test", np.array([0])).tolist() == [7]
    examples = TextExamples(dataset, "train", [("sea", np.array([1]))], torch.device("cpu"), 9)
    (batch,) = examples.batches([np.array([0])])
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]


def test_classes_are_chosen_and_shares_held_out_as_of_images(tokenizer: Path, tmp_path: Path) -> None:
    rows = [{"text": "ab", "label": number % 3, "domain": "d"} for number in range(30)]
    write_rows(tmp_path / "rows.parquet", rows)
    dataset = opened("text_parquet", tmp_path / "rows.parquet", tokenizer, classes=[0, 2], test=0.2, validation=0.1)
    assert dataset.classes == ("0", "2")
    assert dataset.class_numbers == (0, 2)
    assert [len(dataset.labels("d", split)) for split in ("train", "validation", "test")] == [14, 2, 4]


def spoiled(row: int, **changes: Any) -> list[dict[str, Any]]:
    rows = [dict(each) for each in ROWS]
    rows[row] |= changes
    return [{name: value for name, value in each.items() if value is not ...} for each in rows]


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        (
            "text_parquet",
            [{"sentence": "a", "label": 0}],
            "lacks the columns text, domain; its columns are sentence, label;",
        ),
        ("text_parquet", [], "lacks the columns text, label, domain; its columns are none"),
        ("text_parquet", spoiled(1, text=None), "the column text has empty values"),
        ("text_parquet", spoiled(1, label=None), "the column label has empty values"),
        ("text_parquet", [row | {"text": 3} for row in ROWS], "column text must have text; it has int64"),
        (
            "text_parquet",
            [row | {"domain": 0.5} for row in ROWS],
            "column domain must have text or integers; it has double",
        ),
        ("text_parquet", [row | {"label": 0, "label_name": "cat"} for row in ROWS], "there must be two at least"),
        ("jsonl", spoiled(1, text=None), "line 2 has no text, which the first line has"),
        ("jsonl", spoiled(2, domain=...), "line 3 has no domain"),
        ("jsonl", spoiled(2, label=True), "line 3: label must be text or an integer"),
        ("jsonl", spoiled(2, label="cat"), "not readable as JSON lines"),
        ("jsonl", [], "lacks the columns text, label, domain"),
    ],
)
def test_what_does_not_fit_is_named(
    kind: str, rows: list[dict[str, Any]], message: str, tokenizer: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / KINDS[kind][1], rows)
    with pytest.raises(SettingError, match=message) as refusal:
        opened(kind, tmp_path / KINDS[kind][1], tokenizer)
    assert refusal.value.args[0] == "dataset.root"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"\n', "is not readable as JSON lines: line 1: "),
        (b'{"text": "a", "label": 1, "domain": "d"}\n[1]\n', "line 2 is no object"),
        (b"\xff\xfe\n", "is not readable as JSON lines: 'utf-8' codec"),
    ],
)
def test_damaged_lines_are_named(content: bytes, message: str, tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(SettingError, match=message):
        opened("jsonl", tmp_path / "rows.jsonl", tokenizer)


@pytest.mark.parametrize(("kind", "name"), [("text_parquet", "Parquet"), ("jsonl", "JSON lines")])
def test_a_folder_without_such_files_is_refused(kind: str, name: str, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"no such {name} file, nor a folder of them"):
        opened(kind, tmp_path, tokenizer)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sentence": "text"}, r"^dataset.options.columns.sentence=text: must be one of label, .*, text, second"),
        ({"text": None}, r"^dataset.options.columns.text=null: must name a column; only second, domain may be null"),
    ],
)
def test_columns_that_cannot_be_are_refused(
    columns: dict[str, str | None], message: str, tokenizer: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message):
        opened("jsonl", tmp_path, tokenizer, columns=columns)


def test_a_data_set_of_the_other_kind_is_refused(world: Path, tokenizer: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    texts = DatasetConfig("texts", "fedra_ray.data.text.tables.JsonLines", str(tmp_path))
    images = DatasetConfig(root=str(world / "shapes.parquet"))
    model = BackboneConfig(model=f"hf:{tokenizer}")
    with pytest.raises(SettingError, match=r"^dataset.target=.*JsonLines: must be .*; texts are for a language model"):
        open_labelled(texts, BackboneConfig(), 16)
    with pytest.raises(
        SettingError, match=r"^dataset.target=.*ParquetDataset: must be .*; images are for a model of timm"
    ):
        open_labelled(images, model, 16)
    with pytest.raises(SettingError, match=r"^dataset.cache=/tmp: is for images; leave it out for hf:"):
        open_labelled(DatasetConfig("texts", texts.target, str(tmp_path), cache="/tmp"), model, 16)
    with pytest.raises(SettingError, match=r"^dataset.root=: name the file or folder that holds the texts"):
        open_labelled(DatasetConfig("texts", texts.target, ""), model, 16)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "model").mkdir()
    with pytest.raises(SettingError, match=r"^backbone.model=hf:.*model: no tokenizer can be read there"):
        opened("jsonl", tmp_path / "rows.jsonl", tmp_path / "model")
