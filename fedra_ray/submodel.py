"""A sub-model is a list of block indices over one shared stack: the chosen blocks of a frozen backbone, with LoRA.

No module is built or copied when the choice changes.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedra_ray.adapter import Entry, Layout
from fedra_ray.config import LoraConfig
from fedra_ray.errors import SettingError


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trained product of rank r: y = W x + b + (alpha / r) B A dropout(x).

    LoRA, arXiv 2106.09685, equation 3, with PEFT's dropout.
    """

    def __init__(self, base: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.empty(config.rank, base.in_features))
        self.lora_B = nn.Parameter(torch.empty(base.out_features, config.rank))
        self.scaling = config.alpha / config.rank
        self.dropout = config.dropout

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        low = functional.linear(functional.dropout(inputs, self.dropout, self.training), self.lora_A)
        adapted: Tensor = self.base(inputs) + self.scaling * functional.linear(low, self.lora_B)
        return adapted


class LoraConv2d(nn.Module):
    """The same around a frozen convolution: A takes its place with r outputs, B is a 1 x 1 convolution (PEFT's way)."""

    def __init__(self, base: nn.Conv2d, config: LoraConfig) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.empty(config.rank, *base.weight.shape[1:]))
        self.lora_B = nn.Parameter(torch.empty(base.out_channels, config.rank, 1, 1))
        self.scaling = config.alpha / config.rank
        self.dropout = config.dropout

    def forward(self, images: Tensor) -> Tensor:
        """Map (images, in_channels, H, W) to (images, out_channels, rows, columns)."""
        inputs = functional.dropout(images, self.dropout, self.training)
        low = functional.conv2d(inputs, self.lora_A, None, self.base.stride, self.base.padding)
        adapted: Tensor = self.base(images) + self.scaling * functional.conv2d(low, self.lora_B)
        return adapted


class BlockInputs(NamedTuple):
    """What a backbone's own forward hands to a block.

    Attributes:
        tokens: (images, tokens, width).
        args: Further positional arguments, the same for every block.
        kwargs: Further keyword arguments, the same for every block, such as EVA's rotary embedding.
    """

    tokens: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def after(self, block: nn.Module) -> "BlockInputs":
        """What the block after this one gets."""
        return self._replace(tokens=block(self.tokens, *self.args, **self.kwargs))


class SubModel(nn.Module):
    """A frozen backbone with LoRA in every block and linear heads, run through any choice of its blocks.

    Args:
        backbone: A frozen model that `check_stack` accepts; it is changed in place.
        targets: Module paths inside a block.
        lora: Rank, alpha and dropout, and whether the patch embedding is adapted too.
        head_names: Names of the heads.
        num_classes: Outputs of each head.

    Attributes:
        layout: How the trained tensors lie in the flat vector that travels.

    Raises:
        SettingError: if the patch embedding is to be adapted and the backbone has none of the ViT's kind.
    """

    def __init__(
        self,
        backbone: nn.Module,
        targets: Sequence[str],
        lora: LoraConfig,
        head_names: Sequence[str],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        for block in self.blocks:
            for target in targets:
                block.set_submodule(target, LoraLinear(cast(nn.Linear, block.get_submodule(target)), lora))
        if lora.patch_embedding:
            _adapt_patch_embedding(backbone, lora)
        self._stem = _Stem(backbone)
        features = int(cast(int, backbone.num_features))
        self.heads = nn.ModuleDict({name: nn.Linear(features, num_classes) for name in head_names})
        self.layout = _layout(self, targets, head_names, lora.patch_embedding)
        self._parameters_by_name = _named(self)

    @property
    def blocks(self) -> nn.ModuleList:
        """The shared stack."""
        return cast(nn.ModuleList, self.backbone.blocks)

    def embed(self, images: Tensor) -> BlockInputs:
        """What goes into the first block, from normalised images (images, 3, H, W).

        All of this is frozen, so nothing is recorded for gradients unless the patch embedding's LoRA is trained.
        """
        _, inputs = self._stem(images)
        return cast(BlockInputs, inputs[0])

    def readout(self, tokens: Tensor) -> Tensor:
        """Features (images, width) that a head classifies, from the tokens after any block."""
        return cast(Tensor, self.backbone.forward_head(self.backbone.norm(tokens)))  # type: ignore[operator]

    def logits(self, images: Tensor, layers: Sequence[int], head: str = "head") -> Tensor:
        """Class scores (images, classes) of the sub-model made of `layers`, in their original order."""
        return self.exit_logits(images, layers, [(len(layers), head)])[0]

    def exit_logits(self, images: Tensor, layers: Sequence[int], exits: Sequence[tuple[int, str]]) -> list[Tensor]:
        """Class scores at several depths.

        Args:
            images: Normalised images (images, 3, H, W).
            layers: The sub-model's layers; they run in their original order.
            exits: Pairs (n, name): the head of that name reads the tokens after the first n layers.

        Returns:
            Scores (images, classes) of every pair, in the order of the pairs, without those deeper than the sub-model.
        """
        depths = {depth for depth, _ in exits}
        states = enumerate(self._states(images, layers))
        features = {depth: self.readout(tokens) for depth, tokens in states if depth in depths}
        return [self.heads[name](features[depth]) for depth, name in exits if depth in features]

    def _states(self, images: Tensor, layers: Sequence[int]) -> Iterator[Tensor]:
        """Tokens before the first block, and after each of `layers` in their original order."""
        inputs = self.embed(images)
        yield inputs.tokens
        for layer in sorted(layers):
            inputs = inputs.after(self.blocks[layer])
            yield inputs.tokens

    def load(self, values: NDArray, held: Sequence[int]) -> None:  # type: ignore[type-arg]
        """Take every segment from a full flat vector; only the held ones are trained from here on."""
        chosen = set(held)
        tensors = self.layout.tensors(values)
        for index, segment in enumerate(self.layout.entries):
            for entry in segment:
                parameter = self._parameters_by_name[entry.name]
                parameter.requires_grad_(index in chosen)
                parameter.grad = None
                parameter.data = torch.tensor(tensors[entry.name], device=parameter.device)

    def pack(self, held: Sequence[int]) -> NDArray:  # type: ignore[type-arg]
        """The held segments as one contiguous float32 buffer, one after another."""
        entries = (entry for index in held for entry in self.layout.entries[index])
        return torch.cat([self._parameters_by_name[e.name].detach().cpu().flatten() for e in entries]).numpy()

    def trained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The LoRA factors and the head parameters that `load` marked as held."""
        lora: list[nn.Parameter] = []
        heads: list[nn.Parameter] = []
        for name, parameter in self._parameters_by_name.items():
            if parameter.requires_grad:
                (heads if name.startswith("heads.") else lora).append(parameter)
        return lora, heads


def check_stack(backbone: nn.Module, name: str, image_size: int) -> None:
    """Refuse a model of which not every choice of blocks is a model, or whose only trained head is not `head`.

    Raises:
        SettingError: if a block changes the tokens' shape, or if stem, blocks in a row, norm, pooling and `head`
            together are not what the model computes (further stages or heads, arguments that differ by block).
    """
    try:
        same = _is_stack(backbone, image_size)
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
        end, (inputs, *others) = _Stem(backbone)(images)
        # Equal means the very same tensors here: others have no truth value, and the error refuses the model as well.
        if end is not inputs.tokens or any(other != inputs for other in others):
            return False
        shape = inputs.tokens.shape
        for block in cast(nn.ModuleList, backbone.blocks):
            inputs = inputs.after(block)
            if inputs.tokens.shape != shape:
                return False
        features = backbone.forward_head(backbone.norm(inputs.tokens))  # type: ignore[operator]
        return torch.allclose(whole.head(features), whole(images), rtol=1e-4, atol=1e-5)  # type: ignore[operator]


class _Stem(nn.Module):
    """The backbone's own forward with a tap in place of each block and no norm. It shares every weight."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self._seen: list[BlockInputs] = []
        self._view = _view(backbone)
        self._view.blocks = nn.Sequential(*(_Tap(self._seen) for _ in cast(nn.ModuleList, backbone.blocks)))
        self._view.norm = nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, list[BlockInputs]]:
        """What comes out, the tokens if only blocks and norm follow, and what each block was given."""
        end = self._view.forward_features(images)  # type: ignore[operator]
        seen = [*self._seen]
        self._seen.clear()
        return end, seen


class _Tap(nn.Module):
    """A block that does nothing but note what it is given."""

    def __init__(self, seen: list[BlockInputs]) -> None:
        super().__init__()
        self._seen = seen

    def forward(self, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._seen.append(BlockInputs(tokens, args, kwargs))
        return tokens


def _view(model: nn.Module) -> nn.Module:
    """A copy whose own modules can be exchanged; it shares them, and every weight, until then."""
    view = copy.copy(model)
    view._modules = dict(model._modules)
    return view


def _adapt_patch_embedding(backbone: nn.Module, lora: LoraConfig) -> None:
    projection = getattr(getattr(backbone, "patch_embed", None), "proj", None)
    if not isinstance(projection, nn.Conv2d):
        name = type(backbone).__name__
        raise SettingError("lora.patch_embedding", True, f"{name} has no convolution patch_embed.proj; set it to false")
    backbone.set_submodule("patch_embed.proj", LoraConv2d(projection, lora))


def _named(model: SubModel) -> dict[str, nn.Parameter]:
    """Parameters under the names that the plain timm model gives them."""
    return {name.removeprefix("backbone."): parameter for name, parameter in model.named_parameters()}


def _layout(model: SubModel, targets: Sequence[str], head_names: Sequence[str], adapt_patch_embedding: bool) -> Layout:
    shapes = {name: tuple(parameter.shape) for name, parameter in _named(model).items()}

    def entries(prefix: str, names: Sequence[str]) -> tuple[Entry, ...]:
        return tuple(Entry(f"{prefix}.{name}", shapes[f"{prefix}.{name}"]) for name in names)

    factors = [f"{target}.{factor}" for target in targets for factor in ("lora_A", "lora_B")]
    layers = tuple(entries(f"blocks.{index}", factors) for index in range(len(model.blocks)))
    heads = tuple(entries(f"heads.{name}", ("weight", "bias")) for name in head_names)
    patch_embedding = entries("patch_embed.proj", ("lora_A", "lora_B")) if adapt_patch_embedding else ()
    return Layout(layers, heads, tuple(head_names), patch_embedding)
