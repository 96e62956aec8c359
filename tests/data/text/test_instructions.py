"""Prompts and answers of Parquet files and lines of JSON: what is read of them, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import LETTERS, write_rows, write_tokenizer

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, DatasetConfig
from fedra_ray.data.opening import open_labelled
from fedra_ray.data.text.dataset import InstructionDataset
from fedra_ray.data.text.examples import AnswerExamples

ROWS = [
    {"prompt": "ab", "response": "cd", "topic": "sea", "user": "u1", "split": "train"},
    {"prompt": "efg", "response": "h", "topic": "air", "user": "u2", "split": "train"},
    {"prompt": "i", "response": "jklmn", "topic": "sea", "user": "u1", "split": "test"},
    {"prompt": "opqrst", "response": "uvw", "topic": "sea", "user": "u2", "split": "test"},
    {"prompt": "x", "response": "y", "topic": "air", "user": "u2", "split": "train"},
]
KINDS = {"rows.parquet": "InstructionParquet", "rows.jsonl": "InstructionLines", "rows.jsonl.gz": "InstructionLines"}
NATURAL = {"label": "topic", "domain": "user"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


def opened(file: Path, tokenizer: Path, length: int = 20, **options: Any) -> InstructionDataset:
    target = f"fedra_ray.data.text.instructions.{KINDS[file.name]}"
    model = BackboneConfig(model=f"hf:{tokenizer}", head="own")
    dataset = open_labelled(DatasetConfig("rows", target, str(file), options), model, length)
    assert isinstance(dataset, InstructionDataset)
    return dataset


def parts(dataset: InstructionDataset, domain: str, split: str) -> list[tuple[str, str]]:
    """Prompt and answer of every row, read back from their tokens."""
    words = ["<", "_", ">", "?", *LETTERS]
    indices = np.arange(len(dataset.labels(domain, split)))
    lengths = dataset.prompt_lengths(domain, split, indices)
    texts = ["".join(words[token] for token in tokens) for tokens in dataset.tokens(domain, split, indices)]
    return [(text[:length], text[length:]) for text, length in zip(texts, lengths, strict=True)]


@pytest.mark.parametrize("name", KINDS)
def test_a_row_is_a_prompt_and_its_answer_up_to_the_end(name: str, tokenizer: Path, tmp_path: Path) -> None:
    dataset = opened(write_rows(tmp_path / name, ROWS), tokenizer, columns=NATURAL)
    assert (dataset.domains, dataset.classes, dataset.noun) == (("u1", "u2"), ("air", "sea"), "answers")
    assert parts(dataset, "u1", "train") == [("<ab", "cd>")]
    assert parts(dataset, "u2", "train") == [("<efg", "h>"), ("<x", "y>")]
    assert dataset.labels("u2", "test").tolist() == [1]
    assert (dataset.most, dataset.largest, dataset.padding, dataset.notes) == (11, 28, 1, ())
    assert dataset.portable
    assert parts(pickle.loads(pickle.dumps(dataset)), "u1", "test") == [("<i", "jklmn>")]


def test_without_columns_for_them_there_is_one_domain_of_one_class(tokenizer: Path, tmp_path: Path) -> None:
    dataset = opened(write_rows(tmp_path / "rows.parquet", ROWS), tokenizer)
    assert (dataset.domains, dataset.classes) == (("all",), ("all",))
    assert len(parts(dataset, "all", "train")) == 3


def test_a_context_follows_the_prompt_and_a_template_says_how(tokenizer: Path, tmp_path: Path) -> None:
    file = write_rows(
        tmp_path / "rows.jsonl", [row | {"context": "{prompt}z" if row["prompt"] == "ab" else ""} for row in ROWS]
    )
    columns = NATURAL | {"context": "context"}
    plain = opened(file, tokenizer, columns=columns)
    assert parts(plain, "u1", "train") == [("<ab?prompt?z", "cd>")]  # what is read is never a template itself
    put = opened(file, tokenizer, 40, columns=columns, template="q {context} about {prompt} a")
    assert parts(put, "u1", "train") == [("<q?prompt?zaboutaba", "cd>")]
    assert parts(put, "u1", "test") == [("<qaboutia", "jklmn>")]


def test_what_is_too_long_loses_the_end_of_its_answer_and_then_the_beginning_of_its_prompt(
    tokenizer: Path, tmp_path: Path
) -> None:
    dataset = opened(write_rows(tmp_path / "rows.parquet", ROWS), tokenizer, length=6, columns=NATURAL)
    assert parts(dataset, "u1", "test") == [("<i", "jklm")]
    assert parts(dataset, "u2", "test") == [("rst", "uvw")]
    assert dataset.notes == ("2 of 5 prompts with answers have more than 6 tokens, and lose some",)


def test_the_domains_with_most_rows_are_taken(tokenizer: Path, tmp_path: Path) -> None:
    dataset = opened(write_rows(tmp_path / "rows.parquet", ROWS), tokenizer, columns=NATURAL, domains=1)
    assert dataset.domains == ("u2",)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_of_messages_the_last_is_the_answer(name: str, tokenizer: Path, tmp_path: Path) -> None:
    said = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    messages = [{"role": role, "content": content} for role, content in said]
    rows = [{"messages": messages[:2], "split": "train"}, {"messages": messages, "split": "test"}]
    dataset = opened(write_rows(tmp_path / name, rows), tokenizer, columns={"conversation": "messages"})
    assert parts(dataset, "all", "train") == [("<a", "b>")]
    assert parts(dataset, "all", "test") == [("<abc", "d>")]


def test_a_chat_template_puts_prompts_and_ends_answers(tokenizer: Path, tmp_path: Path) -> None:
    write_tokenizer(
        tmp_path / "chat",
        chat_template=(
            "{% for message in messages %}{{ message.role[0] }} {{ message.content }} </s> z {% endfor %}"
            "{% if add_generation_prompt %}a {% endif %}"
        ),
    )
    dataset = opened(write_rows(tmp_path / "rows.jsonl", ROWS), tmp_path / "chat", columns=NATURAL)
    assert parts(dataset, "u1", "train") == [("uab>za", "cd>")]  # nothing is behind the end
    write_tokenizer(tmp_path / "other", chat_template="{{ messages | length }}")
    with pytest.raises(SettingError, match="its chat template does not begin a conversation with the prompt"):
        opened(tmp_path / "rows.jsonl", tmp_path / "other")
    write_tokenizer(tmp_path / "refusing", chat_template="{{ raise_exception('no system messages') }}")
    with pytest.raises(SettingError, match=r"does not take \['user'\]: .*no system messages"):
        opened(tmp_path / "rows.jsonl", tmp_path / "refusing")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"prompt": "a"}], {}, "lacks the columns response; its columns are prompt; dataset.options.columns renames"),
        ([row | {"response": ""} for row in ROWS], {"template": "{prompt}"}, ""),
        ([row | {"prompt": 3} for row in ROWS], {}, "column prompt must have text; it has int64"),
        (ROWS, {"columns": {"prompt": None}}, "must name a column; only context, conversation, label, domain may be"),
        (ROWS, {"columns": {"text": "prompt"}}, "must be one of label, .*, prompt, context, response, conversation"),
        ([{"m": 3}] * 2, {"columns": {"conversation": "m"}}, "row 1: must be a list of at least two messages"),
        ([{"m": [{"role": "user"}]}], {"columns": {"conversation": "m"}}, "row 1: must be a list of at least two"),
        (ROWS, {"columns": {"conversation": "m"}, "template": "{prompt}"}, "messages are put by the tokenizer's chat"),
        (ROWS, {"domains": 0}, "dataset.options.domains=0: must be from 1 to 1, all of them"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    rows: list[dict[str, Any]], options: dict[str, Any], message: str, tokenizer: Path, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.parquet", rows)
    if not message:  # an empty answer is its end alone
        assert parts(opened(file, tokenizer, **options), "all", "train")[0] == ("<ab", ">")
        return
    with pytest.raises(SettingError, match=message):
        opened(file, tokenizer, **options)


def test_labels_are_the_tokens_of_answers_and_marks_stand_before_them(tokenizer: Path, tmp_path: Path) -> None:
    dataset = opened(write_rows(tmp_path / "rows.parquet", ROWS), tokenizer, columns=NATURAL)
    examples = AnswerExamples(dataset, "train", [("u2", np.array([1, 0]))], torch.device("cpu"), 20)
    (batch,) = examples.batches([np.array([0, 1])])
    assert not isinstance(batch.inputs, torch.Tensor)
    assert batch.inputs["input_ids"][:, :6].tolist() == [[0, 27, 28, 2, 1, 1], [0, 8, 9, 10, 11, 2]]
    marks = batch.inputs["answers"]
    assert marks.shape == (2, 8)
    assert marks.nonzero().tolist() == [[0, 1], [0, 2], [1, 3], [1, 4]]
    assert batch.labels.tolist() == [28, 2, 11, 2]
