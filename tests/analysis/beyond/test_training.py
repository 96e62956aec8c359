"""Which segments each way to train gives gradients to."""

import random
from collections.abc import Callable

import pytest
import torch

from analysis.beyond.gradients import identities
from analysis.beyond.training import Variant, gradients, variants
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.submodel import Batch, SubModel

#: Layers of four with any gradient, for a client of three blocks.
TRAINED = {
    "all blocks": {0, 1, 2, 3},
    "head alone": set(),
    "suffix": {1, 2, 3},
    "suffix, light blocks, identity": {0, 1, 2, 3},
    "suffix, all blocks on 8 images": {0, 1, 2, 3},
    "random, exact": {0, 1, 3},
    "random, identity": {0, 1, 3},
    "random, skipped": {0, 1, 3},
}


@pytest.fixture
def ready(vit_config: BackboneConfig, make_model: Callable[..., SubModel], random_values: Callable) -> SubModel:
    model = make_model(vit_config, lora=LoraConfig(rank=2, dropout=0.0), fused=False)
    model.load(random_values(model.layout), model.layout.held(range(4), ("head",)))
    return model


def step(model: SubModel, variant: Variant, chosen: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.randn(12, 3, 16, 16, generator=generator), torch.arange(12) % 3)
    gradients(model, batch, variant, chosen, identities(model))
    return [gradient.clone() for gradient in model.gradients]


@pytest.mark.parametrize("name", TRAINED)
def test_the_layers_of_a_way_get_gradients_and_no_other(name: str, ready: SubModel) -> None:
    _, variant = variants(4)[name]
    chosen = [0, 1, 3] if name.startswith("random") else list(variant.exact(random.Random(0)))
    found = step(ready, variant, chosen)
    assert {layer for layer in range(4) if found[layer].any()} == TRAINED[name]
    assert found[4].any()


def test_exact_gradients_on_all_images_are_those_of_all_blocks(ready: SubModel) -> None:
    whole = step(ready, Variant(lambda _: range(4)), [0, 1, 2, 3])
    deep = step(ready, Variant(lambda _: [3], deep=11), [3])
    through = step(ready, Variant(lambda _: [], through=True), [0, 2])
    for segment in (3, 4):
        torch.testing.assert_close(deep[segment], whole[segment], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(through[0], whole[0])
    assert not through[1].any()


def test_costs_are_counted_in_forward_passes() -> None:
    costs = {name: cost for name, (cost, _) in variants(12).items()}
    assert costs["all blocks"] == 3
    assert costs["suffix"] == costs["suffix, light blocks, identity"] == 1.25
    assert costs["suffix, all blocks on 8 images"] == 1 + 0.25 + 2 * 0.75 / 4
    assert costs["random, skipped"] == 0.5
    assert 2 < costs["random, exact"] < costs["all blocks"]
