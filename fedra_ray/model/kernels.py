"""Attention before its output projection, and gradients, by kernels that PyTorch does not promise to keep.

They are names with an underscore, or of the dispatcher, so each process tries them once on a few numbers: where one is
missing, takes other arguments or computes something else, the plain path takes over, with the same results up to
rounding and more work.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: How far two routes may differ, as a share of the norm of the plain one.
_SHARES = {torch.float32: 1e-5, torch.bfloat16: 0.2}  # bfloat16 has eight bits


def attend(tokens: Tensor, weight: Tensor, bias: Tensor | None, heads: int, first: bool) -> Tensor:
    """Attention of tokens (images, tokens, width) up to its output projection, of all tokens or of the first alone.

    Args:
        tokens: What queries, keys and values are made of.
        weight: Of the frozen layer that makes them, (3 width, width).
        bias: Of the same layer (3 width,), if it has one.
        heads: Number of attention heads.
        first: Whether the first token alone is read on.

    Returns:
        (images, tokens or 1, width).
    """
    if tokens.device.type == "cpu" and unavailable() is None:
        return cast(Tensor, _fused(tokens, weight, bias, heads, first))
    return plain_attention(tokens, weight, bias, heads, first)


def gelu_gradient(gradient: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of the exact GELU at its inputs, times that of its outputs; of the inputs' shape."""
    if unavailable() is None:
        return torch.ops.aten.gelu_backward(gradient, inputs)  # type: ignore[no-any-return]
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        return torch.autograd.grad(functional.gelu(leaf), leaf, gradient)[0]


@cache
def unavailable() -> str | None:
    """Why this version of PyTorch is computed with in the plain way; None if its kernels do what they did."""
    try:
        with torch.inference_mode(False), torch.enable_grad():  # wherever the first call comes from
            _try_gelu()
            for first in (False, True):
                for dtype in (torch.float32, torch.bfloat16):
                    _try_attention(first, dtype)
    except Exception as error:  # a missing name, other arguments, other numbers: whatever another version may do
        reason = " ".join(str(error).split())[:120]
        return f"torch {torch.__version__}: {type(error).__name__}: {reason}"
    return None


def _try_attention(first: bool, dtype: torch.dtype) -> None:
    """Compare values and gradients of both routes; raises where they differ. Draws no random number."""
    tokens = _numbers(-1, 1, 2 * 5 * 8).sin().view(2, 5, 8).to(dtype)
    weight = _numbers(-9, 9, 24 * 8).cos().view(24, 8).to(dtype)
    results = []
    for route in (_fused, plain_attention):
        leaf = tokens.clone().requires_grad_()
        outputs = route(leaf, weight, None, 2, first)
        (gradient,) = torch.autograd.grad(outputs.float().square().sum(), leaf)
        results.append((outputs.detach().float(), gradient.float()))
    for fused, plain in zip(*results, strict=True):
        _check_close(fused, plain, dtype)


def _try_gelu() -> None:
    inputs, ones = _numbers(-3, 3, 7), _numbers(1, 1, 7)
    leaf = inputs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(functional.gelu(leaf), leaf, ones)
    _check_close(torch.ops.aten.gelu_backward(ones, inputs), expected, torch.float32)


def _numbers(first: float, last: float, count: int) -> Tensor:
    return torch.linspace(first, last, count, dtype=torch.float32, device="cpu")


def _check_close(fused: Tensor, plain: Tensor, dtype: torch.dtype) -> None:
    share = float((fused - plain).norm() / plain.norm())
    if not share <= _SHARES[dtype]:
        raise ValueError(f"a kernel differs from the plain computation by {share:.2g} in {dtype}")


def _flash(*parts: Tensor) -> tuple[Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor], torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*parts))


def _flash_backward(*arguments: Any) -> tuple[Tensor, ...]:
    return cast(tuple[Tensor, ...], torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(*arguments))


def _softmax_gradient(gradient: Tensor, shares: Tensor) -> Tensor:
    return torch._softmax_backward_data(gradient, shares, -1, shares.dtype)


def _project(tokens: Tensor, weight: Tensor, bias: Tensor | None, heads: int, first: bool) -> tuple[Tensor, ...]:
    """Queries, of all tokens or the first alone, keys and values, each (images, heads, tokens, width / heads)."""
    images, count, width = tokens.shape
    if not first:
        joint = functional.linear(tokens, weight, bias).view(images, count, 3, heads, -1)
        return joint.permute(2, 0, 3, 1, 4).unbind()
    query_bias, rest_bias = (None, None) if bias is None else bias.split((width, 2 * width))
    queries = functional.linear(tokens[:, :1], weight[:width], query_bias).view(images, 1, heads, -1).transpose(1, 2)
    rest = functional.linear(tokens, weight[width:], rest_bias).view(images, count, 2, heads, -1)
    return queries, *rest.permute(2, 0, 3, 1, 4).unbind()


def plain_attention(tokens: Tensor, weight: Tensor, bias: Tensor | None, heads: int, first: bool) -> Tensor:
    """Attention before its output projection, by autograd: (images, tokens or 1, width)."""
    queries, keys, values = _project(tokens, weight, bias, heads, first)
    mixed = functional.scaled_dot_product_attention(queries, keys, values)
    return mixed.transpose(1, 2).flatten(2)


class _Fused(torch.autograd.Function):
    """`plain_attention` on a processor, where gradients come out as the products with the frozen weights take them."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor | None, heads: int, first: bool) -> Tensor:
        parts = _project(tokens, weight, bias, heads, first)
        mixed, log_sum = _flash(*parts)
        ctx.save_for_backward(*parts, mixed, log_sum, weight)
        return mixed.transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *parts, mixed, log_sum, weight = ctx.saved_tensors
        images, heads, count, _ = parts[1].shape
        split = gradient.unflatten(2, (heads, -1)).transpose(1, 2)
        if gradient.dtype == torch.bfloat16:
            gradients = _attention_gradients(split, *parts)
        else:
            gradients = _flash_backward(split, *parts, mixed, log_sum, 0.0, False)
        queries, keys, values = (part.transpose(1, 2).flatten(2).flatten(0, 1) for part in gradients)
        query_weight, key_weight, value_weight = weight.chunk(3)
        total = (keys @ key_weight).addmm_(values, value_weight)
        if len(queries) == len(keys):
            return total.addmm_(queries, query_weight).view(images, count, -1), None, None, None, None
        total = total.view(images, count, -1)
        total[:, 0].addmm_(queries, query_weight)
        return total, None, None, None, None


_fused: Callable[..., Any] = _Fused.apply


def _attention_gradients(gradient: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """Gradients of queries, keys and values (images, heads, tokens, width / heads) from plain products.

    In bfloat16, torch's own backward pass on a processor takes three to six times as long.
    """
    scale = queries.shape[-1] ** -0.5
    shares = torch.softmax((queries @ keys.transpose(-2, -1)).mul_(scale), -1)
    scores = _softmax_gradient(gradient @ values.transpose(-2, -1), shares).mul_(scale)
    return scores @ keys, scores.transpose(-2, -1) @ queries, shares.transpose(-2, -1) @ gradient
