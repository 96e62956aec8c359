"""Attention before its output projection, and gradients, by kernels that PyTorch does not promise to keep.

PyTorch may rename or change them in any release. So each process tries them once, on a few numbers: if one is missing,
takes other arguments or computes something else, plain autograd takes over. Its results are the same up to rounding,
and it takes longer.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: Largest relative distance (2-norm) between what the kernels compute and what autograd does. In bfloat16, of eight
#: bits, either is up to 7 % off; there the trial shows above all that the kernels take such values.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.2}


def attend(tokens: Tensor, weight: Tensor, bias: Tensor | None, heads: int, first: bool) -> Tensor:
    """Attention of tokens (images, tokens, width) up to its output projection, of all tokens or of the first alone.

    Args:
        tokens: What queries, keys and values are computed from.
        weight: Weight (3 width, width) of the frozen layer that computes them.
        bias: Bias (3 width,) of the same layer, if it has one.
        heads: Number of attention heads.
        first: Whether only the first token is needed.

    Returns:
        (images, tokens or 1, width).
    """
    if tokens.device.type == "cpu" and unavailable() is None:
        return cast(Tensor, _fused(tokens, weight, bias, heads, first))
    return plain_attention(tokens, weight, bias, heads, first)


def gelu_gradient(gradient: Tensor, inputs: Tensor) -> Tensor:
    """The gradient with respect to the inputs of the exact GELU, given that of its outputs; all of one shape."""
    if unavailable() is None:
        return _gelu_backward(gradient, inputs)
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        return torch.autograd.grad(functional.gelu(leaf), leaf, gradient)[0]


@cache
def unavailable() -> str | None:
    """Why the kernels are not used in this process, in one line; None if they give the same results as autograd."""
    try:
        with torch.inference_mode(False), torch.enable_grad():  # wherever the first call comes from
            _try_gelu()
            _try_products()
            for first in (False, True):
                for dtype in (torch.float32, torch.bfloat16):
                    _try_attention(first, dtype)
    except Exception as error:  # a missing name, other arguments, other numbers: whatever another version may do
        reason = " ".join(str(error).split())[:120]
        return f"torch {torch.__version__}: {type(error).__name__}: {reason}"
    return None


def _try_attention(first: bool, dtype: torch.dtype) -> None:
    """Raises ValueError if values or gradients of both routes differ. Draws no random number."""
    tokens = _numbers(-1, 1, 2, 5, 8).sin().to(dtype)
    weight = _numbers(-9, 9, 24, 8).cos().to(dtype)
    results = []
    for route in (_fused, plain_attention):
        leaf = tokens.clone().requires_grad_()
        outputs = route(leaf, weight, None, 2, first)
        (gradient,) = torch.autograd.grad(outputs.float().square().sum(), leaf)
        results.append((outputs.detach().float(), gradient.float()))
    for fused, plain in zip(*results, strict=True):
        _check_close(fused, plain, dtype)


def _try_products() -> None:
    """Raises ValueError if the gradients that bfloat16 gets from plain products are not autograd's, in float32."""
    queries, keys, values = (_numbers(-span, span, 2, 2, 5, 4).sin().requires_grad_() for span in (1, 5, 9))
    outputs = functional.scaled_dot_product_attention(queries, keys, values)
    gradient = _numbers(-3, 3, 2, 2, 5, 4).cos()
    expected = _gradients(outputs, (queries, keys, values), gradient)
    results = _attention_gradients(gradient, queries.detach(), keys.detach(), values.detach())
    for ours, plain in zip(results, expected, strict=True):
        _check_close(ours, plain, torch.float32)


def _try_gelu() -> None:
    """Raises ValueError if the gradient of GELU is not autograd's."""
    inputs, gradient = _numbers(-3, 3, 7), _numbers(1, 2, 7)
    leaf = inputs.clone().requires_grad_()
    (expected,) = _gradients(functional.gelu(leaf), (leaf,), gradient)
    _check_close(_gelu_backward(gradient, inputs), expected, torch.float32)


def _gradients(outputs: Tensor, inputs: tuple[Tensor, ...], gradient: Tensor) -> tuple[Tensor, ...]:
    """What torch.autograd.grad returns for a gradient of the outputs; given one, it loads sympy, which takes longer."""
    return torch.autograd.grad((outputs * gradient).sum(), inputs)


def _numbers(first: float, last: float, *shape: int) -> Tensor:
    return torch.linspace(first, last, math.prod(shape), dtype=torch.float32, device="cpu").view(shape)


def _check_close(fused: Tensor, plain: Tensor, dtype: torch.dtype) -> None:
    distance = float((fused - plain).norm() / plain.norm())
    if not distance <= _TOLERANCE[dtype]:  # nor where it is not a number
        raise ValueError(f"a kernel differs from autograd by {distance:.2g} of the norm in {dtype}")


def _gelu_backward(gradient: Tensor, inputs: Tensor) -> Tensor:
    return cast(Tensor, torch.ops.aten.gelu_backward(gradient, inputs))


def _flash(*parts: Tensor) -> tuple[Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor], torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*parts))


def _flash_backward(*arguments: Any) -> tuple[Tensor, ...]:
    return cast(tuple[Tensor, ...], torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(*arguments))


def _softmax_gradient(gradient: Tensor, shares: Tensor) -> Tensor:
    return torch._softmax_backward_data(gradient, shares, -1, shares.dtype)


def _project(tokens: Tensor, weight: Tensor, bias: Tensor | None, heads: int, first: bool) -> tuple[Tensor, ...]:
    """Queries (of all tokens or of the first alone), keys and values: (images, heads, tokens, width / heads)."""
    images, count, width = tokens.shape
    if not first:
        joint = functional.linear(tokens, weight, bias).view(images, count, 3, heads, -1)
        return joint.permute(2, 0, 3, 1, 4).unbind()
    query_bias, rest_bias = (None, None) if bias is None else bias.split((width, 2 * width))
    queries = functional.linear(tokens[:, :1], weight[:width], query_bias).view(images, 1, heads, -1).transpose(1, 2)
    rest = functional.linear(tokens, weight[width:], rest_bias).view(images, count, 2, heads, -1)
    return queries, *rest.permute(2, 0, 3, 1, 4).unbind()


def plain_attention(tokens: Tensor, weight: Tensor, bias: Tensor | None, heads: int, first: bool) -> Tensor:
    """The same as `attend`, left to autograd."""
    queries, keys, values = _project(tokens, weight, bias, heads, first)
    mixed = functional.scaled_dot_product_attention(queries, keys, values)
    return mixed.transpose(1, 2).flatten(2)


class _Fused(torch.autograd.Function):
    """`plain_attention` on a processor: gradients have the layout that products with the frozen weights need."""

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
