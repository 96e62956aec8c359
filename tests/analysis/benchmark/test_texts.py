"""The benchmark of steps on texts: what it gives to both loops, and its rows, on small models."""

from dataclasses import replace

import pytest
import torch

from analysis.benchmark import texts


def small(case: texts.Case) -> texts.Case:
    width = {"hidden_size": 18, "intermediate_size": 8, "num_attention_heads": 3, "vocab_size": 50}
    heads = {} if case.head == "trained" else {"num_key_value_heads": 3}
    changed = case.settings.to_dict() | width | heads
    changed.pop("head_dim", None)
    return replace(case, settings=type(case.settings)(**changed), texts=3)


@pytest.mark.parametrize("case", texts.CASES, ids=lambda case: case.head)
def test_both_loops_take_a_step(case: texts.Case) -> None:
    row = texts.measure(small(case), 3, repeats=1)
    assert row["times as fast"] == row["transformers + PEFT, ms"] / row["fedra-ray, ms"] > 0
    assert (row["texts"], row["blocks"]) == (3, 3)


def test_marks_stand_before_the_tokens_that_have_labels() -> None:
    (case,) = [case for case in texts.CASES if case.head == "own"]
    inputs, labels = texts.batch(case)
    rows, places = inputs["answers"].nonzero(as_tuple=True)
    assert torch.equal(labels[rows, places + 1], labels[labels != -100])
    share = (labels != -100).sum() / inputs["attention_mask"].sum()
    assert 0.49 < share < 0.52
