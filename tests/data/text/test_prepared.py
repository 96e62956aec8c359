"""Texts that are turned into tokens once: the same data set comes out, and what does not fit is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from language_models import write_model, write_rows, write_tokenizer

from fedra_ray import compose, load, run_local
from fedra_ray.cli.main import main
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, DatasetConfig
from fedra_ray.data.dataset import SPLITS
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.text import preparing
from fedra_ray.data.text.dataset import InstructionDataset, TextDataset, open_texts, tokenised
from fedra_ray.data.text.preparing import prepare_texts

TEXTS = [
    {"text": text, "second": text[::-1], "label": label, "domain": domain, "split": split}
    for number, text in enumerate(["ab", "cdefghijkl", "m", "nop", "qr", "stu", "v", "wx"])
    for label, domain, split in [(3 + number % 3, "sea" if number < 5 else "land", ("train", "test")[number % 4 == 3])]
]
ANSWERS = [
    {"prompt": "ab", "response": "cd", "user": "u1", "split": "train"},
    {"prompt": "efg", "response": "h", "user": "u2", "split": "train"},
    {"prompt": "i", "response": "jklmn", "user": "u1", "split": "test"},
    {"prompt": "opqrst", "response": "uvw", "user": "u2", "split": "test"},
]
TARGETS = {
    "texts": ("fedra_ray.data.text.tables.TextParquet", TEXTS, {}),
    "pairs": ("fedra_ray.data.text.tables.TextParquet", TEXTS, {"columns": {"second": "second"}}),
    "chosen": ("fedra_ray.data.text.tables.TextParquet", TEXTS, {"classes": [3, 4]}),
    "answers": (
        "fedra_ray.data.text.instructions.InstructionParquet",
        ANSWERS,
        {"columns": {"domain": "user"}, "template": "{prompt} x"},
    ),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


def preparation(kind: str, tokenizer: Path, folder: Path, length: int = 8) -> PrepareConfig:
    """What prepares the texts of a kind, which are written into a folder."""
    target, rows, options = TARGETS[kind]
    root = write_rows(folder / "rows.parquet", rows)
    config = DatasetConfig("rows", target, str(root), options)
    return PrepareConfig(config, str(folder / "tokens"), tokenizer=f"hf:{tokenizer}", max_length=length)


def prepared(config: PrepareConfig, length: int = 8) -> TextDataset:
    """The prepared texts, opened for a model of that length."""
    answers = "Instruction" in config.dataset.target
    target = f"fedra_ray.data.text.prepared.{'AnswerTokens' if answers else 'TextTokens'}"
    model = BackboneConfig(model=str(config.tokenizer), head="own" if answers else "trained")
    return open_texts(DatasetConfig("tokens", target, config.out), model, length)


def content(dataset: TextDataset) -> dict[tuple[str, str], Any]:
    """Labels, tokens and what comes first of all texts, by domain and split."""
    found = {}
    for domain in dataset.domains:
        for split in SPLITS:
            every = np.arange(len(dataset.labels(domain, split)))
            first = dataset.first_lengths(domain, split, every)
            if isinstance(dataset, InstructionDataset):
                first = dataset.prompt_lengths(domain, split, every)
            tokens = [each.tolist() for each in dataset.tokens(domain, split, every)]
            found[domain, split] = dataset.labels(domain, split).tolist(), tokens, None if first is None else [*first]
    return found


@pytest.mark.parametrize("shard", [3, 1000])
@pytest.mark.parametrize("kind", TARGETS)
def test_the_same_texts_come_out(
    kind: str, shard: int, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "_SHARD_TEXTS", shard)
    config = preparation(kind, tokenizer, tmp_path)
    original = tokenised(config.dataset, str(tokenizer), 8)
    manifest = prepare_texts(config)
    (tmp_path / "rows.parquet").unlink()
    dataset = prepared(config)
    assert content(dataset) == content(original)
    for name in ("domains", "classes", "class_numbers", "most", "largest", "padding", "noun", "notes"):
        assert getattr(dataset, name) == getattr(original, name), name
    assert getattr(dataset, "template", None) == getattr(original, "template", None)
    texts = sum(len(labels) for labels, *_ in content(original).values())
    assert [part["texts"] for part in manifest["shards"]] == [shard] * (texts // shard) + [texts % shard] * (
        texts % shard > 0
    )


def runs(tmp_path: Path, kind: str, own_head: bool, rows: list[dict[str, Any]], *data: str) -> list[Path]:
    """Folders of a run on rows of texts, and of one on their tokens, both after one round."""
    write_model(tmp_path / "model", kind, own_head, blocks=3)
    texts = [*data, f"dataset.root={write_rows(tmp_path / 'rows.jsonl', rows)}"]
    model = f"hf:{tmp_path / 'model'}"
    assert main(["prepare", *texts, f"tokenizer={model}", f"out={tmp_path / 'tokens'}"]) == 0
    few = ["rounds=1", "training.batch_size=2", "fleet.depths=[3,2]", "fleet.num_clients=2", f"backbone.model={model}"]
    few += ["backbone=causal_lm" if own_head else "backbone=hf", f"run_dir={tmp_path}/texts"]
    tokens = [f"dataset={'answer' if own_head else 'text'}_tokens", f"dataset.root={tmp_path / 'tokens'}"]
    run_local(compose(*texts, *few))
    run_local(compose(*tokens, *few[:-1], f"run_dir={tmp_path}/prepared"))
    return [tmp_path / "texts", tmp_path / "prepared"]


def test_a_run_gives_the_same_bits(tmp_path: Path) -> None:
    texts, tokens = runs(tmp_path, "bert", False, TEXTS * 4, "dataset=jsonl")
    adapters = [(folder / "adapter" / "adapter_model.safetensors").read_bytes() for folder in (texts, tokens)]
    assert adapters[0] == adapters[1]


def test_a_run_answers_as_one_whose_prompts_were_put_by_the_same_template(tmp_path: Path) -> None:
    options = ["dataset.options.columns.domain=user", "dataset.options.template='{prompt} x'"]
    folders = runs(tmp_path, "llama", True, ANSWERS * 4, "dataset=instructions_jsonl", *options)
    (texts, tokens) = (load(folder).generate(["ab", "efg"], max_tokens=6) for folder in folders)
    assert texts == tokens
    assert json.loads((folders[1] / "adapter" / "model.json").read_text())["template"] == "{prompt} x"


def test_a_finished_preparation_is_left_alone(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = preparation("texts", tokenizer, tmp_path)
    manifest = prepare_texts(config)
    assert "8 texts in 1 shards; use them by dataset=text_tokens" in capsys.readouterr().out
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "tokens").iterdir()}
    assert prepare_texts(config) == manifest
    assert "is already prepared" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "tokens").iterdir()} == before
    with pytest.raises(SettingError, match=r"max_length=9: .* holds a preparation with max_length=8; choose another"):
        prepare_texts(dataclasses.replace(config, max_length=9))


def test_an_interrupted_preparation_is_no_data_set_until_it_is_repeated(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = preparation("texts", tokenizer, tmp_path)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(preparing, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_texts(config)
    with pytest.raises(SettingError, match="holds no tokens"):
        prepared(config)
    prepare_texts(config)
    assert prepared(config).domains == ("land", "sea")


def test_tokens_of_another_tokenizer_or_length_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    config = preparation("texts", tokenizer, tmp_path)
    prepare_texts(config)
    with pytest.raises(SettingError, match=r"texts of 8 tokens, and backbone.max_length leads to 6; set it to 8, or"):
        prepared(config, length=6)
    other = tmp_path / "other"
    write_tokenizer(other)
    assert prepared(dataclasses.replace(config, tokenizer=f"hf:{other}")).most == 8  # a copy is the same
    vocabulary = json.loads((other / "tokenizer.json").read_text())
    words = vocabulary["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (other / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(SettingError, match=r"was prepared by the tokenizer of hf:.*, which is not that of hf:.*other"):
        prepared(dataclasses.replace(config, tokenizer=f"hf:{other}"))


def test_texts_and_answers_are_not_taken_for_each_other(tokenizer: Path, tmp_path: Path) -> None:
    config = preparation("answers", tokenizer, tmp_path)
    prepare_texts(config)
    mistaken = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, target="TextParquet"))
    with pytest.raises(SettingError, match="holds answers: use dataset=answer_tokens"):
        prepared(mistaken)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("tokens", [[0, 2], [], [3]], "without a token"),
        ("tokens", [[0, 2], [-1], [3]], "without a token"),
        ("tokens", [[0, 2], None, [3]], "without a token"),
        ("first_tokens", [0, 2, 0], "first_tokens does not fit tokens"),
        ("label", ["x", "y", None], "column label has empty values"),
    ],
)
def test_damaged_shards_are_refused(
    column: str, values: list[Any], reason: str, tokenizer: Path, tmp_path: Path
) -> None:
    config = preparation("texts", tokenizer, tmp_path)
    prepare_texts(config)
    rows = {"tokens": [[0, 2], [1], [3]], "first_tokens": [0, 0, 0], "label": [0, 0, 0], "label_name": ["c"] * 3}
    rows |= {"domain": ["d"] * 3, "split": ["train"] * 3, column: values}
    shard = tmp_path / "tokens" / "00000.parquet"
    pq.write_table(pa.table(rows), shard)
    manifest = tmp_path / "tokens" / "manifest.json"
    stated = json.loads(manifest.read_text())
    stated["shards"][0]["bytes"] = shard.stat().st_size
    manifest.write_text(json.dumps(stated))
    with pytest.raises(SettingError, match=reason):
        prepared(config)


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("tokenizer", "bert-base-uncased", "must be hf:NAME_OR_FOLDER"),
        ("image_size", 64, "is for images; texts have a tokenizer"),
        ("max_length", 1, "at least 2"),
    ],
)
def test_settings_of_texts_are_checked(setting: str, value: Any, reason: str, tokenizer: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(preparation("texts", tokenizer, tmp_path), **{setting: value})
    with pytest.raises(SettingError, match=reason):
        prepare_texts(config)
    assert not (tmp_path / "tokens").exists()


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingError, match=rf"^tokenizer=hf:{tmp_path}/empty: no tokenizer can be read there"):
        prepare_texts(preparation("texts", tmp_path / "empty", tmp_path))
