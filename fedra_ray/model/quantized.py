"""Frozen linear layers whose weights lie in eight or four bits, by bitsandbytes.

Products are those with the weights in the precision of what comes in. These are made anew for every forward and every
backward pass, and none is kept; so one layer at a time is as large as it was.
"""

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fedra_ray.config.errors import SettingError, error_text

_BLOCK = 64  # values of NormalFloat that share a scale, as in QLoRA (Dettmers et al., arXiv 2305.14314, section 3)


class QuantizedLinear(nn.Linear):
    """A frozen linear layer.

    Args:
        plain: The layer whose weight is taken.
        kind: int8: a scale for every output; nf4: NormalFloat, a scale for 64 values.
        blank: Whether its values are only room for others.

    Attributes:
        weight: Of int8 (outputs, inputs); of nf4 two values a byte.
        scales: The bits of float32 values, as int32: whatever changes the precision of a model leaves them alone.
    """

    def __init__(self, plain: nn.Linear, kind: str, blank: bool = False) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = plain.in_features, plain.out_features, kind
        weight, scales = _blank(plain, kind) if blank else _quantized(plain.weight.detach(), kind)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scales = nn.Parameter(scales.view(torch.int32), requires_grad=False)
        self.bias = plain.bias

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """The weight (outputs, inputs) in a precision."""
        scales = self.scales.data.view(torch.float32)
        if self.kind == "int8":
            return cast(Tensor, _library().int8_vectorwise_dequant(self.weight.data, scales)).to(dtype)
        state = _library().QuantState(
            absmax=scales,
            shape=torch.Size((self.out_features, self.in_features)),
            dtype=dtype,
            blocksize=_BLOCK,
            code=_code(self.kind, scales.device),
            quant_type=self.kind,
        )
        return cast(Tensor, _library().dequantize_4bit(self.weight.data, state))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return cast(Tensor, _product(inputs, self))


class _Product(torch.autograd.Function):
    """y = W x + b, with the gradient of x alone."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return functional.linear(inputs, layer.dequantized(inputs.dtype), layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.dequantized(gradient.dtype), None


_product: Callable[..., Any] = _Product.apply


def quantize(blocks: Iterable[nn.Module], kind: str, blank: bool = False) -> None:
    """Put quantised layers in the place of all linear layers of blocks.

    Args:
        blocks: They are changed in place.
        kind: int8 or nf4.
        blank: Whether the caller replaces all weights.

    Raises:
        SettingError: if bitsandbytes is not installed, or cannot be used.
    """
    try:
        _library()
    except Exception as error:  # it loads a library of its own, which may not fit the machine
        allowed = f"needs bitsandbytes (pip install 'fedra-ray[quantization]'): {error_text(error)}"
        raise SettingError("backbone.quantization", kind, allowed) from error
    for block in blocks:
        for path, module in [*block.named_modules()]:
            if type(module) is nn.Linear:
                block.set_submodule(path, QuantizedLinear(module, kind, blank))


def hush() -> None:
    """Keep bitsandbytes from saying, whenever it is imported, that it lacks a faster kernel."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@cache
def _library() -> Any:
    """The functions of bitsandbytes; importing it takes seconds."""
    hush()
    from bitsandbytes import functional as functions

    return functions


@cache
def _code(kind: str, device: torch.device) -> Tensor:
    """The values that four bits stand for, once on every device."""
    return cast(Tensor, _library().get_4bit_type(kind, device=device))


def _quantized(weight: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """A weight in so many bits, and its scales."""
    if kind == "int8":
        quantized, scales, _ = _library().int8_vectorwise_quant(weight)
        return quantized, scales
    quantized, state = _library().quantize_4bit(weight, blocksize=_BLOCK, quant_type=kind)
    return quantized, state.absmax


def _blank(plain: nn.Linear, kind: str) -> tuple[Tensor, Tensor]:
    """Room for a weight and its scales."""
    values = plain.in_features * plain.out_features
    if kind == "int8":
        return torch.empty(plain.weight.shape, dtype=torch.int8), torch.empty(plain.out_features)
    return torch.empty(-(-values // 2), 1, dtype=torch.uint8), torch.empty(-(-values // _BLOCK))
