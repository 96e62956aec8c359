"""Linear maps in place of blocks."""

from collections.abc import Callable

import torch

from analysis.beyond.surrogates import explained, features, refitted, ridge, rows_of
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.submodel import SubModel


def test_an_affine_map_of_token_and_mean_token_is_found_again() -> None:
    tokens = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.arange(36.0).view(9, 4) / 10
    inputs = rows_of(tokens, True)
    assert inputs[0, 1].tolist() == [*tokens[0, 1].tolist(), *tokens[0].mean(0).tolist(), 1.0]
    found = ridge(inputs, inputs @ weight)
    torch.testing.assert_close(found, weight, atol=1e-2, rtol=0)
    assert explained(inputs, inputs @ weight, found) > 0.9999
    assert explained(inputs, inputs @ weight, torch.zeros(9, 4)) < 0.5


def test_where_all_blocks_are_kept_nothing_is_replaced(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel], images: torch.Tensor
) -> None:
    model = make_model(vit_config)
    model.load(model.layout.initial(0), model.layout.held((), ("head",)))
    model.eval()
    maps = refitted(model, range(4), images)
    assert maps == [None] * 4
    with torch.no_grad():
        whole = model.heads["head"](features(model, images, range(4), maps))
        torch.testing.assert_close(whole, model.logits(images, range(4)), atol=1e-5, rtol=1e-4)


def test_refitted_maps_come_nearer_to_the_full_model_than_none(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel]
) -> None:
    model = make_model(vit_config)
    model.load(model.layout.initial(0), model.layout.held((), ("head",)))
    model.eval()
    images = torch.randn(200, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        full = features(model, images, range(4), None)
        skipped = features(model, images, [1], None)
        mended = features(model, images, [1], refitted(model, [1], images))
    assert (mended - full).norm() < 0.5 * (skipped - full).norm()
