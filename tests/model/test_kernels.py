"""Kernels that PyTorch may drop or change: each one is tried, and all give way to autograd if one fails."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model import kernels
from fedra_ray.model.kernels import attend, gelu_gradient, plain_attention, unavailable
from fedra_ray.model.submodel import SubModel


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Every test tries the kernels anew."""
    unavailable.cache_clear()
    yield
    unavailable.cache_clear()


def missing(*arguments: Any) -> Any:
    raise AttributeError("no such operator")


def takes_one(first: Any) -> Any:
    return first


def off_by_one_percent(name: str) -> Callable[..., Any]:
    """The kernel with its first result off by one percent."""
    kernel = getattr(kernels, name)

    def wrong(*arguments: Any) -> Any:
        results = kernel(*arguments)
        return 1.01 * results if isinstance(results, Tensor) else (1.01 * results[0], *results[1:])

    return wrong


KERNELS = ("_flash", "_flash_backward", "_softmax_gradient", "_gelu_backward")
WAYS = {
    "missing": (lambda name: missing, "AttributeError: no such operator"),
    "takes other arguments": (lambda name: takes_one, "TypeError: takes_one() takes 1 positional argument"),
    "computes something else": (off_by_one_percent, "ValueError: a kernel differs from autograd by "),
}


@pytest.fixture(params=WAYS)
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """broken(name): breaks that kernel, and gives what its trial is expected to say."""
    make, message = WAYS[request.param]

    def damage(name: str) -> str:
        monkeypatch.setattr(kernels, name, make(name))
        return message

    return damage


def step(route: Callable[..., Tensor], first: bool) -> tuple[Tensor, Tensor]:
    """Values and gradient of attention over random tokens."""
    numbers = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 7, 12, generator=numbers, requires_grad=True)
    weight, bias = torch.randn(36, 12, generator=numbers), torch.randn(36, generator=numbers)
    outputs = route(tokens, weight, bias, 3, first)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), tokens)
    return outputs.detach(), gradient


def test_this_version_has_them_and_trying_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    with torch.inference_mode():
        assert unavailable() is None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("first", [False, True])
def test_attention_is_that_of_autograd(first: bool) -> None:
    for ours, plain in zip(step(attend, first), step(plain_attention, first), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)  # other kernels, other rounding


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_fails_gives_way_to_autograd_and_the_reason_is_known(
    name: str, first: bool, broken: Callable[[str], str]
) -> None:
    message = broken(name)
    assert str(unavailable()).startswith(f"torch {torch.__version__}: {message}")
    for ours, plain in zip(step(attend, first), step(plain_attention, first), strict=True):
        assert torch.equal(ours, plain)  # the same computation


def scores_and_gradient(model: SubModel, values: np.ndarray, images: Tensor, labels: Tensor) -> list[np.ndarray]:
    """Class scores of two layers, and the gradient of what is trained."""
    model.load(values, model.layout.held([1, 3], ["head"]))
    scores = model.eval().logits(images, (1, 3))
    functional.cross_entropy(scores, labels).backward()
    lora, heads = model.trained()
    return [scores.detach().numpy(), torch.cat([parameter.grad for parameter in (*lora, *heads)]).numpy()]


@pytest.mark.parametrize("name", KERNELS)
def test_a_model_trains_without_the_kernels(
    name: str,
    broken: Callable[[str], str],
    backbone_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Callable[..., np.ndarray],
    images: Tensor,
    labels: Tensor,
) -> None:
    plain = make_model(backbone_config, fused=False)
    values = random_values(plain.layout)
    expected = scores_and_gradient(plain, values, images, labels)
    broken(name)
    results = scores_and_gradient(make_model(backbone_config), values, images, labels)
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)  # fused LoRA layers add in another order


def test_the_gradient_of_gelu_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, gradient = torch.linspace(-4, 4, 50), torch.linspace(1, 2, 50)
    fused = gelu_gradient(gradient, inputs)
    unavailable.cache_clear()
    monkeypatch.setattr(kernels, "_gelu_backward", missing)
    with torch.no_grad():  # as in a backward pass
        plain = gelu_gradient(gradient, inputs)
    torch.testing.assert_close(fused, plain, rtol=1e-6, atol=1e-6)
