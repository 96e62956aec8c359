"""One block in place of several."""

from collections.abc import Callable

import numpy as np
import torch

from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.merging import frozen
from fedra_ray.model.submodel import SubModel


def loaded(make_model: Callable[..., SubModel], config: BackboneConfig, values: Callable[..., np.ndarray]) -> SubModel:
    model = make_model(config, lora=LoraConfig(rank=2, alpha=3.0, dropout=0.3))
    model.load(values(model.layout), (0, 1, 4))
    return model.train()


def test_frozen_values_are_those_of_the_formula_and_factors_those_of_the_first(
    backbone_config: BackboneConfig, make_model: Callable[..., SubModel], random_values: Callable[..., np.ndarray]
) -> None:
    model = loaded(make_model, backbone_config, random_values)
    before = {name: value.detach().clone() for name, value in model.blocks.named_parameters()}
    merged = model.merged([1, 2, 3], 0.1)
    one, two, three = (frozen(model.blocks[index]) for index in (1, 2, 3))
    for name, value in frozen(merged).items():
        expected = one[name] + 0.1 * ((two[name] - one[name]) + (three[name] - one[name]))
        torch.testing.assert_close(value, expected)
    assert len(frozen(merged)) > 4
    own = dict(model.blocks[1].named_parameters())
    shared = [name for name, value in merged.named_parameters() if value is own[name]]
    assert sorted(shared) == sorted(name for name in own if "lora" in name)
    assert all(torch.equal(value, before[name]) for name, value in model.blocks.named_parameters())


def test_it_trains_the_first_block_s_factors_with_the_model_s_dropout(
    backbone_config: BackboneConfig, make_model: Callable[..., SubModel], random_values: Callable[..., np.ndarray]
) -> None:
    model = loaded(make_model, backbone_config, random_values)
    tokens = torch.linspace(-1, 1, 2 * 5 * 16).view(2, 5, 16)[:, : 4 if "mixer" in backbone_config.name else 5]
    model.seed(3)
    same = model.blocks[0](tokens)
    model.seed(3)
    merged = model.merged([0, 1], 0.0)
    torch.testing.assert_close(merged(tokens), same)  # with beta 0 it is the first block
    merged(tokens).square().sum().backward()
    assert model.gradients[0].any()
    assert not model.gradients[1].any()


def test_a_group_of_one_is_the_block_itself(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel], random_values: Callable[..., np.ndarray]
) -> None:
    model = loaded(make_model, vit_config, random_values)
    assert model.merged([2], 0.1) is model.blocks[2]


def test_cosines_are_symmetric_and_one_for_a_block_with_itself(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel]
) -> None:
    model = make_model(vit_config)
    found = model.similarity()
    np.testing.assert_allclose(np.diag(found), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-12)
    one, two = (
        np.concatenate([value.detach().numpy().ravel() for value in frozen(block).values() if value.ndim > 1])
        for block in list(model.blocks)[:2]
    )
    expected = one @ two / (np.linalg.norm(one) * np.linalg.norm(two))
    np.testing.assert_allclose(found[0, 1], expected, rtol=0, atol=1e-5)  # a product in float32 there
