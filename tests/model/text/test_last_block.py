"""A last block that is computed for the tokens alone that a head reads gives what the whole block does."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from language_models import SETTINGS, VOCABULARY, assert_same, gradient, write_model

from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import find_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.text.families import FAMILIES
from fedra_ray.model.text.last_block import is_shortened
from fedra_ray.model.text.stack import TextStack
from fedra_ray.model.weights import from_weights, load_weights

CASES = [(kind, "trained") for kind in SETTINGS if FAMILIES[kind].shape]
CASES += [(kind, "own") for kind in SETTINGS if FAMILIES[kind].shape == "llama"]


def batch(lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Three texts of so many tokens, at most 7."""
    ids = torch.randint(3, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask, "answers": (mask * (ids % 2)).bool()}


@pytest.mark.parametrize("lengths", [(7, 6, 7), (7, 5, 4)], ids=["padded", "in rows"])
@pytest.mark.parametrize(("kind", "head"), CASES)
def test_values_and_gradients_are_those_of_the_whole_block(
    kind: str, head: str, lengths: Sequence[int], tmp_path: Path, random_values: Callable[..., np.ndarray]
) -> None:
    write_model(tmp_path, kind, own_head=head == "own")
    config = BackboneConfig(model=f"hf:{tmp_path}", head=head)
    weights = load_weights(config)
    scores, gradients = [], []
    for fused in (True, False):
        backbone = from_weights(config, weights)
        assert isinstance(backbone, TextStack)
        assert is_shortened(backbone)
        model = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=2), ("head",), 3, fused=fused)
        model.load(random_values(model.layout), model.layout.held([1, 4], ["head"]))
        model.train()
        scores.append(model.logits(batch(lengths), [1, 4]))
        gradients.append(gradient(model, scores[-1]))
    assert_same(scores, gradients)


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("bert", "last"), ("llama", "mean"), ("gpt2", "last")])
def test_what_reads_more_or_is_of_another_kind_runs_whole(kind: str, pooling: str, tmp_path: Path) -> None:
    write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}", pooling=pooling)
    backbone = from_weights(config, load_weights(config))
    assert isinstance(backbone, TextStack)
    assert not is_shortened(backbone)
