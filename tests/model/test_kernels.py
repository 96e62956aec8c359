"""Kernels that PyTorch may drop or change: each is tried, and replaced by the plain computation if it fails."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from fedra_ray.model import kernels
from fedra_ray.model.kernels import attend, gelu_gradient, plain_attention, unavailable

Step = Callable[[], tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Every test tries the kernels anew."""
    unavailable.cache_clear()
    yield
    unavailable.cache_clear()


def missing(*arguments: Any) -> Any:
    raise AttributeError("no such operator")


def takes_more(first: Any) -> Any:
    return first


def wrong_forward(*parts: Tensor) -> tuple[Tensor, Tensor]:
    mixed, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*parts)
    return mixed * 1.01, log_sum


def wrong_backward(*arguments: Any) -> tuple[Tensor, ...]:
    return tuple(
        gradient + 0.1 for gradient in torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(*arguments)
    )


BROKEN = {
    "forward is missing": ("_flash", missing, "AttributeError: no such operator"),
    "forward takes other arguments": ("_flash", takes_more, "TypeError"),
    "forward computes something else": ("_flash", wrong_forward, "differs from the plain computation"),
    "backward is missing": ("_flash_backward", missing, "AttributeError"),
    "backward computes something else": ("_flash_backward", wrong_backward, "differs from the plain computation"),
    "softmax's gradient is missing": ("_softmax_gradient", missing, "AttributeError"),
}


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


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("first", [False, True])
def test_a_kernel_that_fails_gives_way_to_the_plain_computation_and_is_told(
    kind: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, replacement, message = BROKEN[kind]
    monkeypatch.setattr(kernels, name, replacement)
    reason = unavailable()
    assert reason is not None
    assert reason.startswith(f"torch {torch.__version__}: ")
    assert message in reason
    for ours, plain in zip(step(attend, first), step(plain_attention, first), strict=True):
        assert torch.equal(ours, plain)  # the same computation


def test_gelu_s_gradient_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, gradient = torch.linspace(-4, 4, 50), torch.linspace(1, 2, 50)
    fused = gelu_gradient(gradient, inputs)
    unavailable.cache_clear()
    monkeypatch.setattr(kernels, "_flash", missing)
    with torch.no_grad():  # as in a backward pass
        plain = gelu_gradient(gradient, inputs)
    torch.testing.assert_close(fused, plain, rtol=1e-6, atol=1e-6)
