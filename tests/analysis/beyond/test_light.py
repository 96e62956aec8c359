"""Blocks that run exactly and are passed cheaply, and the exact gradients that they are compared with."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional

from analysis.beyond.gradients import Maps, Regression, adapted, boundary_gradients, identities, light_loss
from analysis.beyond.light import after_light, passed
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.submodel import Batch, SubModel

EVERYTHING = range(4)
Make = Callable[..., SubModel]


@pytest.fixture
def model(backbone_config: BackboneConfig, make_model: Make, random_values: Callable[..., np.ndarray]) -> SubModel:
    made = make_model(backbone_config, lora=LoraConfig(rank=2, alpha=3.0, dropout=0.0), fused=False)
    made.load(random_values(made.layout), made.layout.held(EVERYTHING, ("head",)))
    return made


@pytest.fixture
def batch(images: torch.Tensor, labels: torch.Tensor) -> Batch:
    return Batch(images, labels)


def gradients(
    model: SubModel, batch: Batch, exact: Sequence[int], light: Sequence[int], maps: Maps
) -> list[torch.Tensor]:
    for gradient in model.gradients:
        gradient.zero_()
    light_loss(model, batch, exact, light, maps).backward()
    return [gradient.clone() for gradient in model.gradients]


def test_the_forward_pass_is_exact_whatever_is_passed_lightly(model: SubModel, batch: Batch) -> None:
    whole = functional.cross_entropy(model.logits(batch.inputs, EVERYTHING), batch.labels)
    light = light_loss(model, batch, [2], [0, 1], identities(model))
    assert light.item() == pytest.approx(whole.item(), rel=1e-6)


def test_an_exact_suffix_has_exact_gradients_and_light_blocks_train_b_alone(model: SubModel, batch: Batch) -> None:
    exact = gradients(model, batch, EVERYTHING, [], identities(model))
    mixed = gradients(model, batch, [2, 3], [0, 1], identities(model))
    for segment in (2, 3, 4):
        torch.testing.assert_close(mixed[segment], exact[segment])
    for layer in (0, 1):
        assert all(not a.grad.any() and b.grad.any() for a, b in model.factors(layer))


def test_b_of_the_last_target_is_exact_in_the_block_under_the_exact_ones(model: SubModel, batch: Batch) -> None:
    """What it puts out is added to the tokens, whose gradient there is exact."""
    gradients(model, batch, EVERYTHING, [], identities(model))
    true = model.factors(1)[-1][1].grad.clone()
    gradients(model, batch, [2, 3], [1], identities(model))
    torch.testing.assert_close(model.factors(1)[-1][1].grad, true)


def test_gradients_pass_by_the_map_of_their_token() -> None:
    gradient = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    turn = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert passed(gradient, None) is gradient
    assert passed(gradient, turn).tolist() == [[[2.0, 1.0], [4.0, 3.0]]]
    assert passed(gradient, torch.stack([turn, 2 * torch.eye(2)])).tolist() == [[[2.0, 1.0], [6.0, 8.0]]]


def test_nothing_is_kept_of_a_light_block_but_r_values_a_token(model: SubModel, batch: Batch) -> None:
    kept: list[torch.Tensor] = []
    stream = model.embed(batch.inputs)
    own = {parameter.data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        after_light(model.blocks[0], stream, adapted(model.blocks[0]), None)
    sizes = [tensor.numel() for tensor in kept if tensor.data_ptr() not in own]
    assert sizes
    assert max(sizes) <= 2 * stream.tokens[..., 0].numel() * 16 // min(16, stream.tokens.shape[1])


def test_gradients_one_block_at_a_time_are_those_of_the_whole_graph(model: SubModel, batch: Batch) -> None:
    stream = model.embed(batch.inputs)
    tokens = [stream.tokens.clone().requires_grad_()]
    for block in model.blocks:
        tokens.append(stream._replace(tokens=tokens[-1]).after(block).tokens)
    loss = functional.cross_entropy(model.heads["head"](model.readout(tokens[-1])), batch.labels)
    for ours, true in zip(boundary_gradients(model, batch), torch.autograd.grad(loss, tokens), strict=True):
        torch.testing.assert_close(ours, true)


@pytest.mark.parametrize("first", [False, True])
def test_maps_are_found_again_where_blocks_are_linear(first: bool, model: SubModel) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.linalg.qr(torch.randn(4, 16, 16, generator=generator)).Q  # so that no direction fades
    regression = Regression(model, first)
    for _ in range(2):
        behind = [torch.randn(40, 5, 16, generator=generator)]
        for weight in weights.flip(0):
            behind.append(behind[-1] @ weight)
        regression.add(behind[::-1])
    for found, weight in zip(regression.maps(), weights, strict=True):
        expected = torch.stack([weight, weight]) if first else weight
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
