"""Texts end to end in rows: which lie in which, and that a model computes the same of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from language_models import SETTINGS, VOCABULARY, assert_same, gradient, write_model
from torch import Tensor

from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import find_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.text.families import FAMILIES
from fedra_ray.model.text.rows import balanced, end_to_end, in_rows
from fedra_ray.model.weights import from_weights, load_weights

ENCODERS = [kind for kind in SETTINGS if FAMILIES[kind].shape == "bert"]


def texts(*lengths: int) -> dict[str, Tensor]:
    """Texts of so many tokens, the second half of each of the second type."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(3, VOCABULARY, mask.shape, generator=torch.Generator().manual_seed(0))
    kinds = (torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None] // 2).long() * mask
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask, "token_type_ids": kinds}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(30, 40))
def test_every_text_is_in_one_row_and_no_row_is_too_long(lengths: list[int], room: int) -> None:
    rows = end_to_end(lengths, room)
    assert sorted(position for row in rows for position in row) == list(range(len(lengths)))
    sizes = [sum(lengths[position] for position in row) for row in rows]
    assert max(sizes) <= room
    assert [min(row) for row in rows] == sorted(min(row) for row in rows)
    assert sum(size <= room // 2 for size in sizes) <= 1  # two rows that are half empty would be one


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 8))
def test_balanced_rows_have_every_text_once_and_differ_by_no_more_than_the_longest(
    lengths: list[int], count: int
) -> None:
    rows = balanced(lengths, count)
    assert len(rows) == count
    assert sorted(position for row in rows for position in row) == list(range(len(lengths)))
    sizes = [sum(lengths[position] for position in row) for row in rows]
    assert max(sizes) - min(sizes) <= max(lengths)


def test_every_text_begins_anew_and_sees_itself_alone() -> None:
    ids = torch.tensor([[11, 12, 13, 14], [21, 0, 0, 0], [31, 32, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    read = torch.zeros(3, 4, dtype=torch.bool)
    read[:, 0] = True
    laid = in_rows(inputs, read, first=5)
    assert laid["input_ids"].tolist() == [[11, 12, 13, 14, 31, 32, 21]]
    assert laid["position_ids"].tolist() == [[5, 6, 7, 8, 5, 6, 5]]
    own = torch.block_diag(torch.ones(4, 4), torch.ones(2, 2), torch.ones(1, 1)).bool()
    assert torch.equal(laid["attention_mask"], own[None, None])
    assert laid["read"].nonzero().tolist() == [[0, 0, 0], [1, 0, 6], [2, 0, 4]]


@pytest.mark.parametrize("lengths", [(6, 6, 6), (8, 8, 7), (5,)])
def test_texts_of_nearly_one_length_stay_as_they_are(lengths: tuple[int, ...]) -> None:
    inputs = texts(*lengths)
    assert in_rows(inputs, inputs["attention_mask"].bool(), first=0) is inputs


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_gives_the_scores_and_gradients_of_padded_texts_in_their_order(
    kind: str, pooling: str, tmp_path: Path, random_values: Callable[..., np.ndarray]
) -> None:
    write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}", pooling=pooling)
    weights = load_weights(config)
    shapes, scores, gradients = [], [], []
    for fused in (True, False):
        backbone = from_weights(config, weights)
        backbone.trunk.embeddings.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape[:2])))
        model = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=2), ("exit", "head"), 3, fused=fused)
        model.load(random_values(model.layout), model.layout.held([0, 3], ["exit", "head"]))
        model.train()
        scores.append(torch.stack(model.exit_logits(texts(2, 7, 5, 3), [0, 3], [(1, "exit"), (2, "head")])))
        gradients.append(gradient(model, scores[-1]))
    assert shapes == [(2, 9), (4, 7)]
    assert_same(scores, gradients)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_row_may_have_more_tokens_than_the_model_has_positions(kind: str, tmp_path: Path) -> None:
    write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}")
    weights = load_weights(config)
    given = {name: value for name, value in texts(60, 40, 45, 50).items() if name != "token_type_ids"}
    scores = []
    for fused in (True, False):
        backbone = from_weights(config, weights)
        model = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=2), ("head",), 3, fused=fused)
        model.load(np.ones(model.layout.size, dtype=np.float32) / 10, [])
        model.train()
        scores.append(model.logits(given, [0, 1]))
    assert backbone.in_rows(given)["input_ids"].shape == (2, 100)  # of 64 positions, some of them for padding
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-5)


def test_attention_that_takes_no_booleans_gets_padded_texts(tmp_path: Path) -> None:
    write_model(tmp_path, "bert")
    config = BackboneConfig(model=f"hf:{tmp_path}", model_args={"_attn_implementation": "eager"})
    given = texts(2, 7, 5, 3)
    assert from_weights(config, load_weights(config)).in_rows(given) is given


def test_evaluation_takes_texts_as_they_come(tmp_path: Path, random_values: Callable[..., np.ndarray]) -> None:
    write_model(tmp_path, "bert")
    config = BackboneConfig(model=f"hf:{tmp_path}")
    shapes = []
    backbone = from_weights(config, load_weights(config))
    backbone.trunk.embeddings.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape[:2])))
    model = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=2), ("head",), 3).eval()
    model.load(random_values(model.layout), [])
    model.logits(texts(2, 7, 5, 3), [0])
    assert shapes == [(4, 7)]
