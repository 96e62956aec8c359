"""A backbone's forward pass as a stem and blocks: what the blocks are given, and whether they are exchangeable."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from fedra_ray.config.errors import SettingError
from fedra_ray.model.text.stack import TextStack


class BlockInputs(NamedTuple):
    """The arguments that a backbone's forward pass hands to a block.

    Attributes:
        tokens: Tokens (images, tokens, width).
        args: Further positional arguments, the same for every block.
        kwargs: Further keyword arguments, the same for every block, such as EVA's rotary embedding.
        marks: Which tokens' mean a head reads: booleans (texts, tokens); None where the backbone pools by itself.
    """

    tokens: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    marks: Tensor | None = None

    def after(self, block: nn.Module) -> "BlockInputs":
        """The arguments of the next block, if `block` is called with these."""
        return self._replace(tokens=block(self.tokens, *self.args, **self.kwargs))


def check_stack(backbone: nn.Module, name: str, size: int) -> None:
    """Refuse a model in which some choice of blocks is not a model, or whose one head is not called `head`.

    Args:
        backbone: The model; it is left as it is.
        name: Its name, for the message.
        size: Side in pixels of the square images that it takes; a language model knows its own.

    Raises:
        SettingError: if a block changes the tokens' shape, or if a stem, the blocks in a row, a norm, a pooling and
            `head` are not all that the model computes: it has further stages or heads, or arguments differ by block.
    """
    try:
        same = _is_text_stack(backbone) if isinstance(backbone, TextStack) else _is_stack(backbone, size)
    except Exception:  # a model of another kind can fail anywhere, with any error
        same = False
    if not same:
        reason = "must be a stem, exchangeable residual blocks in a row, a norm, a pooling and one linear head"
        raise SettingError("backbone.model", name, f"{reason}, as a ViT or an MLP-Mixer is")


def _is_stack(backbone: nn.Module, image_size: int) -> bool:
    images = torch.linspace(-1, 1, 3 * image_size * image_size).view(1, 3, image_size, image_size)
    whole = _view(backbone)
    with torch.no_grad():
        whole.reset_classifier(2)  # type: ignore[operator]
        tokens = _behind_blocks(backbone, images)
        if tokens is None:
            return False
        features = backbone.forward_head(backbone.norm(tokens))  # type: ignore[operator]
        return torch.allclose(whole.head(features), whole(images), rtol=1e-4, atol=1e-5)  # type: ignore[operator]


def _is_text_stack(backbone: TextStack) -> bool:
    texts = backbone.sample(2, min(4, backbone.max_length))
    with torch.no_grad():
        tokens = _behind_blocks(backbone, texts)
        if tokens is None:
            return False
        return torch.allclose(backbone.norm(tokens), backbone.forward_features(texts), rtol=1e-4, atol=1e-5)


def _behind_blocks(backbone: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> Tensor | None:
    """The tokens behind all blocks, run one after another; None if the model does more than that, or calls one apart.

    Raises:
        RuntimeError: if the blocks' arguments are tensors that are not the same objects: they have no truth value.
    """
    end, (taken, *others) = Stem(backbone)(inputs)
    if not (end is taken.tokens or torch.equal(end, taken.tokens)) or any(other != taken for other in others):
        return None
    shape = taken.tokens.shape
    for block in cast(nn.ModuleList, backbone.blocks):
        taken = taken.after(block)
        if taken.tokens.shape != shape:
            return None
    return cast(Tensor, taken.tokens)


def check_targets(backbone: nn.Module, targets: Sequence[str], size: int) -> None:
    """Refuse targets where LoRA would never be trained, because the model reads their weights without calling them.

    Timm's BEiT and EVA do so with attn.qkv. A backward pass tells, whatever the model.

    Args:
        backbone: A model that `check_stack` accepts; it is left as it is.
        targets: Paths of linear layers inside a block.
        size: Side in pixels of the square images that it takes; a language model knows its own.

    Raises:
        SettingError: naming these targets, and the linear layers that can be adapted.
    """
    bypassed = _bypassed(backbone, targets, size)
    if bypassed:
        blocks = [dict(block.named_modules()) for block in cast(nn.ModuleList, backbone.blocks)]
        linear = [path for path in blocks[0] if all(isinstance(block.get(path), nn.Linear) for block in blocks)]
        others = sorted({*linear} - {*_bypassed(backbone, linear, size)})
        reason = f"{type(backbone).__name__} reads the weight of {', '.join(bypassed)} without calling the layer"
        allowed = f"{reason}, so LoRA there would never be trained; choose among {', '.join(others)}"
        raise SettingError("lora.targets", list(targets), allowed)


def _bypassed(backbone: nn.Module, targets: Sequence[str], size: int) -> list[str]:
    """Those of the targets whose output has no part in the model's in some block."""
    blocks = cast(nn.ModuleList, backbone.blocks)
    factors = {target: [torch.ones((), requires_grad=True) for _ in blocks] for target in targets}
    hooks = [
        block.get_submodule(target).register_forward_hook(lambda _, inputs, output, factor=factor: output * factor)
        for target in targets
        for block, factor in zip(blocks, factors[target], strict=True)
    ]
    try:
        with torch.enable_grad():
            features = backbone(sample_inputs(backbone, 1, size, torch.zeros))
    finally:
        for hook in hooks:
            hook.remove()
    if features.requires_grad:  # it has none if all targets are bypassed
        features.sum().backward()
    return [target for target in targets if any(factor.grad is None for factor in factors[target])]


def sample_inputs(
    backbone: nn.Module, count: int, size: int, fill: Callable[..., Tensor] = torch.rand
) -> Tensor | dict[str, Tensor]:
    """Inputs of no meaning that a backbone takes: images of these values, or texts of the greatest length.

    Args:
        backbone: A model that `check_stack` accepts, or will be asked to.
        count: How many examples.
        size: Side in pixels of the images.
        fill: Makes the images' values; called with their shape and device.
    """
    if isinstance(backbone, TextStack):
        return backbone.sample(count, backbone.max_length)
    return fill(count, 3, size, size, device=next(backbone.parameters()).device)


class Stem(nn.Module):
    """A backbone's forward pass with a tap in place of every block, and without its norm. It shares all weights."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self._seen: list[BlockInputs] = []
        self._view = _view(backbone)
        self._view.blocks = nn.Sequential(*(_Tap(self._seen) for _ in cast(nn.ModuleList, backbone.blocks)))
        self._view.norm = nn.Identity()

    def forward(self, inputs: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, list[BlockInputs]]:
        """Run the taps in place of the blocks.

        Args:
            inputs: Normalised images (images, 3, H, W), or a language model's inputs by name.

        Returns:
            The output, which is the tokens if only blocks and a norm follow the stem; and the arguments of every block.
        """
        end = self._view.forward_features(inputs)  # type: ignore[operator]
        seen = [*self._seen]
        self._seen.clear()
        return end, seen


class _Tap(nn.Module):
    """Stands in for a block: notes its arguments, and passes the tokens on."""

    def __init__(self, seen: list[BlockInputs]) -> None:
        super().__init__()
        self._seen = seen

    def forward(self, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._seen.append(BlockInputs(tokens, args, kwargs))
        return tokens


def _view(model: nn.Module) -> nn.Module:
    """A copy that shares all modules and weights, but whose direct submodules can be replaced."""
    view = copy.copy(model)
    view._modules = dict(model._modules)
    return view
