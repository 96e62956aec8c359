"""Batches of texts: padded on the right to few lengths, and in any order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedra_ray.data.text.dataset import InstructionDataset, TextDataset, Tokens
from fedra_ray.data.text.examples import AnswerExamples, TextExamples, padded

LENGTHS = {"a": [3, 10, 1, 20], "b": [7, 2]}


class Counting(TextDataset):
    """Text number k of a domain has the tokens 1, 2, ..., up to its length; its label is its length modulo 3."""

    domains, classes, padding = ("a", "b"), ("x", "y", "z"), 9

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return np.array(LENGTHS[domain]) % 3

    def tokens(self, domain: str, split: str, indices: NDArray[np.int64]) -> list[Tokens]:
        return [np.arange(1, LENGTHS[domain][index] + 1, dtype=np.int32) for index in indices]


@pytest.fixture
def examples() -> TextExamples:
    parts = [("b", np.array([1, 0])), ("a", np.array([0, 3, 2]))]  # of 2, 7, 3, 20 and 1 tokens
    return TextExamples(Counting(), "train", parts, torch.device("cpu"), max_length=18)


def test_a_batch_is_padded_on_the_right_to_the_next_multiple_of_eight(examples: TextExamples) -> None:
    (batch, last) = examples.batches([np.array([4, 0]), np.array([2])])
    assert not isinstance(batch.inputs, torch.Tensor)
    assert batch.inputs["input_ids"].tolist() == [[1, 9, 9, 9, 9, 9, 9, 9], [1, 2, 9, 9, 9, 9, 9, 9]]
    assert batch.inputs["attention_mask"].tolist() == [[1] + [0] * 7, [1, 1] + [0] * 6]
    assert batch.labels.tolist() == [1, 2]
    assert last.labels.tolist() == [0]
    assert len(examples) == 5


def test_a_pass_takes_short_texts_together(examples: TextExamples) -> None:
    assert [positions.tolist() for positions in examples.in_turn(2)] == [[4, 0], [2, 1], [3]]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_nothing_is_lost_between_the_padding(lengths: list[int]) -> None:
    texts = [np.arange(1, length + 1, dtype=np.int32) for length in lengths]
    inputs = padded(texts, 99, 30)
    shape = inputs["input_ids"].shape
    assert shape == (len(lengths), min(30, -(-max(lengths) // 8) * 8))
    for ids, mask, text in zip(inputs["input_ids"], inputs["attention_mask"], texts, strict=True):
        assert ids[mask.bool()].tolist() == text.tolist()
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)
        assert (ids[~mask.bool()] == 99).all()


class Answering(InstructionDataset):
    """Text number k of a domain has the tokens 10 k + 1, 10 k + 2, ..., of which the first half is the prompt."""

    domains, classes, padding = ("a", "b"), ("all",), 99

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return np.zeros(len(LENGTHS[domain]), dtype=np.int64)

    def tokens(self, domain: str, split: str, indices: NDArray[np.int64]) -> list[Tokens]:
        return [10 * index + np.arange(1, LENGTHS[domain][index] + 1, dtype=np.int32) for index in indices]

    def prompt_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array(LENGTHS[domain])[indices] // 2


def answering(split: str) -> AnswerExamples:
    """Texts of 3, 10, 1 and 20 tokens, of which a row has at most 16."""
    return AnswerExamples(Answering(), split, [("a", np.arange(3))], torch.device("cpu"), max_length=16)


def test_short_answers_share_a_row_in_training() -> None:
    (batch,) = answering("train").batches([np.array([2, 0, 1])])
    assert not isinstance(batch.inputs, torch.Tensor)
    ten, three, one = list(range(11, 21)), [1, 2, 3], [21]
    assert batch.inputs["input_ids"].tolist() == [[*ten, *three, *one, 99, 99]]
    assert batch.inputs["position_ids"].tolist() == [[*range(10), *range(3), 0, 0, 1]]
    before = [*range(4, 9), 10, 11]  # the first tokens of answers are the sixth of ten, the second of three
    assert batch.inputs["answers"].tolist() == [[place in before for place in range(16)]]
    assert batch.labels.tolist() == [16, 17, 18, 19, 20, 2, 3]
    assert "attention_mask" not in batch.inputs


def test_answers_that_are_judged_have_a_row_each() -> None:
    (batch,) = answering("test").batches([np.array([2, 0, 1])])
    assert not isinstance(batch.inputs, torch.Tensor)
    assert batch.inputs["attention_mask"].sum(1).tolist() == [1, 3, 10]
    assert batch.labels.tolist() == [2, 3, 16, 17, 18, 19, 20]
