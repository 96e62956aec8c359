"""Blocks that run exactly and that gradients pass cheaply: by a linear map in place of the block's own derivative.

Of such a *light* block nothing is kept for the backward pass but, per token, the r values that go into each factor B.
So its B can be trained at no more arithmetic than a forward pass, and in next to no memory. Its A cannot.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fedra_ray.model.lora import LoraLinear
from fedra_ray.model.stack import BlockInputs


class _Light(torch.autograd.Function):
    """The tokens after a block; gradients as if these were a linear map of the tokens before it, plus `added`."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, added: Tensor, after: Tensor, maps: Tensor | None) -> Tensor:
        ctx.save_for_backward(maps)
        return after.view_as(after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (maps,) = ctx.saved_tensors
        before = passed(gradient, maps) if ctx.needs_input_grad[0] else None
        return before, gradient, None, None


def passed(gradient: Tensor, maps: Tensor | None) -> Tensor:
    """What comes out before a block of a gradient behind it.

    Args:
        gradient: Of the tokens behind the block (images, tokens, width).
        maps: A map (width, width) of every token's gradient; or two (2, width, width), one of the first token's and one
            of the others'; None for the identity, which is the block's skip path alone.
    """
    if maps is None:
        return gradient
    if maps.dim() == 2:
        return gradient @ maps
    return torch.cat([gradient[:, :1] @ maps[0], gradient[:, 1:] @ maps[1]], dim=1)


def after_light(
    block: nn.Module, stream: BlockInputs, trained: Sequence[LoraLinear], maps: Tensor | None
) -> BlockInputs:
    """The arguments of the next block, if `block` is passed lightly.

    Args:
        block: Any block of a model that is not fused.
        stream: Its arguments.
        trained: Those of its adapted layers, without dropout, whose B gets a gradient. What they put out must be added
            to the tokens.
        maps: What takes the place of its derivative, as for `passed`.
    """
    traces: dict[LoraLinear, Tensor] = {}

    def note(linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(linear, LoraLinear)
        traces[linear] = linear.scaling * functional.linear(inputs[0], linear.lora_A)

    hooks = [linear.register_forward_pre_hook(note) for linear in trained]
    with torch.no_grad():
        after = stream.after(block).tokens
    for hook in hooks:
        hook.remove()
    added = torch.zeros_like(after)
    for linear, trace in traces.items():
        outputs = functional.linear(trace, linear.lora_B)
        added = added + (outputs if outputs.shape == after.shape else outputs.transpose(1, 2))  # a Mixer's tokens
    if not (added.requires_grad or stream.tokens.requires_grad):
        return stream._replace(tokens=after)
    return stream._replace(tokens=_Light.apply(stream.tokens, added, after, maps))
