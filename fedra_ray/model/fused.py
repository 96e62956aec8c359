"""Layers with a backward pass of their own, which computes what a local step needs and nothing else.

All weights but the LoRA factors are frozen, so autograd's generic backward pass computes and keeps more than the loss
needs. Compared with the same layers in plain PyTorch (`fedra_ray.model.lora` and timm's), these save

- most of LoRA dropout: 16 random bits per value instead of a random number, and no separate pass for scaling;
- what only trained weights would need, such as the activations that go into a frozen product;
- putting the gradients of queries, keys and values together for one product with a frozen matrix;
- the queries of all tokens but the class token, and all that follows from them, in a block after which only the class
  token is read.

Values and gradients are those of the plain layers, up to rounding.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fedra_ray.model import _torchvision  # noqa: F401  (must come before timm)
from fedra_ray.model.kernels import attend, gelu_gradient
from fedra_ray.model.lora import LoraLinear
from fedra_ray.model.quantized import QuantizedLinear

from timm.layers import Attention, Mlp  # isort: skip
from timm.models.vision_transformer import Block, VisionTransformer  # isort: skip

_LEVELS = 2**16  # into which the probability of dropout is rounded


class Noise:
    """The source of random bits for the dropout of all layers of a model."""

    def __init__(self) -> None:
        self._bits = np.random.SFC64(0)

    def seed(self, seed: int) -> None:
        """Begin the stream of `seed`."""
        self._bits = np.random.SFC64(seed)

    def kept(self, like: Tensor, probability: float) -> Tensor:
        """Draw which values of a tensor dropout keeps, each independently of the others.

        Args:
            like: A tensor of any shape.
            probability: Probability of dropping a value, a multiple of 2**-16.

        Returns:
            Booleans of the tensor's shape.
        """
        if like.device.type != "cpu":
            return torch.empty_like(like, dtype=torch.bool).bernoulli_(1 - probability)
        bits = np.asarray(self._bits.random_raw(-(-like.numel() // 4))).view(np.uint16)[: like.numel()]
        return torch.from_numpy(bits >= round(probability * _LEVELS)).view(like.shape)


class FusedLinear(LoraLinear):
    """A `LoraLinear` that keeps and computes only what the factors' gradients need."""

    def __init__(self, plain: LoraLinear, noise: Noise) -> None:
        nn.Module.__init__(self)
        self.base, self.lora_A, self.lora_B = plain.base, plain.lora_A, plain.lora_B
        self.scaling = plain.scaling
        self.dropout = round(plain.dropout * _LEVELS) / _LEVELS
        self.noise = noise

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        if self.training or torch.is_grad_enabled():
            return cast(Tensor, _lora(inputs, False, *self.arguments(inputs)))
        factors = (self.lora_B.to(inputs.dtype), self.lora_A.to(inputs.dtype))
        merged = torch.addmm(self.base.weight, *factors, alpha=self.scaling)  # less work than the low-rank way
        return functional.linear(inputs, merged, self.base.bias)

    def after_gelu(self, inputs: Tensor) -> Tensor:
        """Take the exact GELU of the inputs (..., in_features), and map them to (..., out_features)."""
        if self.training or torch.is_grad_enabled():
            return cast(Tensor, _lora(inputs, True, *self.arguments(inputs)))
        return self.forward(functional.gelu(inputs))

    def arguments(self, inputs: Tensor) -> tuple[Any, ...]:
        """The arguments of `_Lora` besides the inputs: the frozen layer, the factors, and the dropout of this call."""
        probability = self.dropout if self.training else 0.0
        kept = self.noise.kept(inputs, probability) if probability else None
        scaling = self.scaling / (1 - probability)
        return self.base.weight, self.base.bias, self.lora_A, self.lora_B, scaling, kept


class _Lora(torch.autograd.Function):
    """y = W x + b + scaling B A (kept * x), or the same with gelu(x) in place of x."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        gelu: bool,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        scaling: float,
        kept: Tensor | None,
    ) -> Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        active = functional.gelu(rows) if gelu else rows
        factor_a, factor_b = lora_a.to(rows.dtype), (scaling * lora_b).to(rows.dtype)
        dropped = active if kept is None else _masked(active, kept.view(active.shape))
        low = dropped @ factor_a.t()
        outputs = functional.linear(active, weight, bias).addmm_(low, factor_b.t())
        ctx.save_for_backward(rows if gelu else None, dropped, low, weight, factor_a, factor_b, kept)
        ctx.scaling = scaling
        ctx.types = (lora_a.dtype, lora_b.dtype)
        return outputs.view(*inputs.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        before_gelu, dropped, low, weight, factor_a, factor_b, kept = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        low_gradient = rows @ factor_b
        a_gradient = (low_gradient.t() @ dropped).to(ctx.types[0])
        b_gradient = (low.t() @ rows).t().to(ctx.types[1]) * ctx.scaling
        input_gradient = None
        if ctx.needs_input_grad[0]:
            input_gradient = low_gradient @ factor_a
            if kept is not None:
                input_gradient = _masked(input_gradient, kept.view(input_gradient.shape))
            input_gradient.addmm_(rows, weight)
            if before_gelu is not None:
                input_gradient = gelu_gradient(input_gradient, before_gelu)
            input_gradient = input_gradient.view(*gradient.shape[:-1], -1)
        return input_gradient, None, None, None, a_gradient, b_gradient, None, None


_lora: Callable[..., Any] = _Lora.apply


def _masked(values: Tensor, kept: Tensor) -> Tensor:
    """The values, with zero in place of those that are not kept."""
    if values.device.type != "cpu":
        return values * kept
    # numpy takes a fifth of torch's time. It does not know bfloat16, but its bits, times one or zero, are right too.
    known = values.view(torch.int16) if values.dtype == torch.bfloat16 else values
    return torch.from_numpy(np.multiply(known.numpy(), kept.numpy())).view(values.dtype)


class FusedMlp(nn.Module):
    """timm's `Mlp`, made of a frozen layer, GELU and a `FusedLinear`."""

    def __init__(self, fc1: nn.Linear, fc2: FusedLinear) -> None:
        super().__init__()
        self.fc1 = fc1
        self.fc2 = fc2

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return self.fc2.after_gelu(self.fc1(tokens))


class FusedAttention(nn.Module):
    """timm's `Attention` with a frozen layer for queries, keys and values."""

    def __init__(self, plain: Attention) -> None:
        super().__init__()
        self.qkv, self.proj, self.num_heads = plain.qkv, plain.proj, plain.num_heads

    def forward(self, tokens: Tensor, first: bool = False, **masks: Any) -> Tensor:
        """Map (images, tokens, width) to the same shape, or to (images, 1, width) for the first token alone.

        Raises:
            NotImplementedError: if a mask is given.
        """
        if any(mask is not None and mask is not False for mask in masks.values()):
            raise NotImplementedError(f"masks in attention: {', '.join(masks)}")
        return cast(Tensor, self.proj(attend(tokens, self.qkv.weight, self.qkv.bias, self.num_heads, first)))


def fuse(block: nn.Module, noise: Noise) -> None:
    """Replace layers of a block by layers that compute the same in less time, wherever there are such.

    Parameters keep their names.

    Args:
        block: A block of a timm model, with `LoraLinear` layers; it is changed in place.
        noise: The source of random bits for its dropout.
    """
    for name, module in [*block.named_modules()]:
        if type(module) is LoraLinear and not isinstance(module.base, QuantizedLinear):
            block.set_submodule(name, FusedLinear(module, noise))
    for name, module in [*block.named_modules()]:
        if type(module) is Mlp and _is_plain_mlp(module):
            block.set_submodule(name, FusedMlp(cast(nn.Linear, module.fc1), cast(FusedLinear, module.fc2)))
        elif type(module) is Attention and _is_plain_attention(module):
            block.set_submodule(name, FusedAttention(module))


def _is_plain_mlp(module: Mlp) -> bool:
    exact = type(module.act) is nn.GELU and module.act.approximate == "none"
    parts = type(module.fc1) is nn.Linear and isinstance(module.fc2, FusedLinear)
    return exact and parts and isinstance(module.norm, nn.Identity) and not module.drop1.p and not module.drop2.p


def _is_plain_attention(module: Attention) -> bool:
    norms = [getattr(module, name, None) for name in ("q_norm", "k_norm", "norm", "gate")]
    bare = all(norm is None or isinstance(norm, nn.Identity) for norm in norms)
    square = type(module.qkv) is nn.Linear and module.qkv.out_features == 3 * module.qkv.in_features
    return bare and square and not module.attn_drop.p and not module.proj_drop.p


def reads_first_token(backbone: nn.Module) -> bool:
    """Whether heads read only the first token, so that `first_token` can replace a model's last block."""
    pooled = type(backbone) is VisionTransformer and backbone.global_pool == "token" and backbone.attn_pool is None
    return pooled and all(
        type(block) is Block and type(block.attn) is FusedAttention for block in cast(Iterable[Any], backbone.blocks)
    )


def first_token(block: nn.Module, tokens: Tensor) -> Tensor:
    """The first token (images, 1, width) after a block, in a model for which `reads_first_token` is true."""
    parts = cast(Any, block)
    mixed = parts.attn(parts.norm1(tokens), first=True)
    first = tokens[:, :1] + parts.drop_path1(parts.ls1(mixed))
    return cast(Tensor, first + parts.drop_path2(parts.ls2(parts.mlp(parts.norm2(first)))))
