"""The segments of an adapted model: which of its parameters travel, under which names."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import nn

from fedra_ray.config.schema import LoraConfig
from fedra_ray.federation.layout import Entry, Layout, changed_weights


class Adapted(Protocol):
    """What is asked of an adapted model (`fedra_ray.model.submodel.SubModel`)."""

    extras: nn.ModuleDict
    changes_weights: bool

    @property
    def blocks(self) -> nn.ModuleList: ...

    @property
    def own_head(self) -> bool: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def named(model: Adapted) -> dict[str, nn.Parameter]:
    """Parameters under the names that the plain timm model gives them."""
    return {name.removeprefix("backbone."): parameter for name, parameter in model.named_parameters()}


def layout_of(model: Adapted, targets: Sequence[str], head_names: Sequence[str], lora: LoraConfig) -> Layout:
    """How the trained tensors of a model lie in the flat vector.

    Args:
        model: An adapted model.
        targets: Paths inside a block of what is adapted.
        head_names: Names of the heads.
        lora: Whether the patch embedding is adapted, and what heads are at first.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in named(model).items()}

    def entries(prefix: str, names: Sequence[str]) -> tuple[Entry, ...]:
        return tuple(Entry(f"{prefix}.{name}", shapes[f"{prefix}.{name}"]) for name in names)

    factors = [f"{target}.{factor}" for target in targets for factor in ("lora_A", "lora_B")]
    layers = tuple(entries(f"blocks.{index}", factors) for index in range(len(model.blocks)))
    trained = () if model.own_head else ("weight", "bias")
    heads = tuple(entries(f"heads.{name}", trained) for name in head_names)
    extras = {
        name: tuple(Entry(f"extras.{name}.{path}", tuple(value.shape)) for path, value in module.named_parameters())
        for name, module in model.extras.items()
    }
    if lora.patch_embedding:
        extras["patch_embedding"] = entries("patch_embed.proj", ("lora_A", "lora_B"))
    if model.changes_weights:
        changes = [f"{target}.change" for target in targets]
        extras |= {changed_weights(layer): entries(f"blocks.{layer}", changes) for layer in range(len(model.blocks))}
    random_heads = lora.head_init == "uniform" and not model.own_head
    return Layout(layers, heads, tuple(head_names), tuple(extras.values()), tuple(extras), random_heads)
