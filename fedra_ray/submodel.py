"""A sub-model is a list of block indices over one shared stack: the chosen blocks of a frozen backbone, with LoRA.

No module is built or copied when the choice changes.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import cast

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


class SubModel(nn.Module):
    """A frozen backbone with LoRA in every block and linear heads, run through any choice of its blocks.

    Attributes:
        layout: How the trained tensors lie in the flat vector that travels.
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
        self._stem = _without_blocks(backbone)
        features = int(cast(int, backbone.num_features))
        self.heads = nn.ModuleDict({name: nn.Linear(features, num_classes) for name in head_names})
        self.layout = _layout(self, targets, head_names)
        self._parameters_by_name = _named(self)

    @property
    def blocks(self) -> nn.ModuleList:
        """The shared stack."""
        return cast(nn.ModuleList, self.backbone.blocks)

    def embed(self, images: Tensor) -> Tensor:
        """Tokens before the first block, (images, tokens, width), from normalised images (images, 3, H, W)."""
        with torch.no_grad():
            return cast(Tensor, self._stem.forward_features(images))  # type: ignore[operator]

    def readout(self, tokens: Tensor) -> Tensor:
        """Features (images, width) that a head classifies, from the tokens after any block."""
        return cast(Tensor, self.backbone.forward_head(self.backbone.norm(tokens)))  # type: ignore[operator]

    def logits(self, images: Tensor, layers: Sequence[int], head: str = "head") -> Tensor:
        """Class scores (images, classes) of the sub-model made of `layers`, in their original order."""
        tokens = self.embed(images)
        for layer in sorted(layers):
            tokens = self.blocks[layer](tokens)
        return cast(Tensor, self.heads[head](self.readout(tokens)))

    def exit_logits(self, images: Tensor, layers: Sequence[int], exits: Mapping[int, str]) -> list[Tensor]:
        """Class scores at several depths: for every n in `exits`, of head exits[n] after the first n of `layers`."""
        tokens = self.embed(images)
        scores = []
        for depth, layer in enumerate(sorted(layers), start=1):
            tokens = self.blocks[layer](tokens)
            if depth in exits:
                scores.append(self.heads[exits[depth]](self.readout(tokens)))
        return scores

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
    """Refuse a model that is not stem, blocks one after another, and readout.

    Raises:
        SettingError: if running the parts differs from running the model.
    """
    images = torch.linspace(-1, 1, 3 * image_size * image_size).view(1, 3, image_size, image_size)
    with torch.no_grad():
        try:
            tokens = _without_blocks(backbone).forward_features(images)  # type: ignore[operator]
            for block in cast(nn.ModuleList, backbone.blocks):
                tokens = block(tokens)
            parts = backbone.forward_head(backbone.norm(tokens))  # type: ignore[operator]
            same = torch.allclose(parts, backbone(images), rtol=1e-4, atol=1e-5)
        except (RuntimeError, TypeError, ValueError, AttributeError):
            same = False
    if not same:
        raise SettingError("backbone.model", name, "must be a stem, residual blocks in a row, a norm and a pooled head")


def _without_blocks(backbone: nn.Module) -> nn.Module:
    """A view of the backbone that ends before its first block; it shares every weight."""
    view = copy.copy(backbone)
    view._modules = dict(backbone._modules)
    view.blocks = nn.Sequential()
    view.norm = nn.Identity()
    return view


def _named(model: SubModel) -> dict[str, nn.Parameter]:
    """Parameters under the names that the plain timm model gives them."""
    return {name.removeprefix("backbone."): parameter for name, parameter in model.named_parameters()}


def _layout(model: SubModel, targets: Sequence[str], head_names: Sequence[str]) -> Layout:
    shapes = {name: tuple(parameter.shape) for name, parameter in _named(model).items()}

    def entries(prefix: str, names: Sequence[str]) -> tuple[Entry, ...]:
        return tuple(Entry(f"{prefix}.{name}", shapes[f"{prefix}.{name}"]) for name in names)

    factors = [f"{target}.{factor}" for target in targets for factor in ("lora_A", "lora_B")]
    layers = tuple(entries(f"blocks.{index}", factors) for index in range(len(model.blocks)))
    heads = tuple(entries(f"heads.{name}", ("weight", "bias")) for name in head_names)
    return Layout(layers, heads, tuple(head_names))
