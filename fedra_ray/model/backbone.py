"""The frozen pre-trained model: any timm model whose body is a stack of residual blocks, or a language model."""

import importlib
import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import version as _version
from typing import Any, cast

import torch
from torch import nn

from fedra_ray.model import _torchvision  # noqa: F401  (must come before timm)

import timm  # isort: skip

from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import resolve
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.blank import Blank
from fedra_ray.model.text.families import FAMILIES
from fedra_ray.model.text.stack import TextStack

_LEAST_TRANSFORMERS = 5  # the release from which on blocks return tokens alone
_LARGEST_STATISTIC = 1e6  # a mean or std of pixel values in [0, 1] beyond it, or not finite, is a mistake

#: Where LoRA goes by default: the first of these whose modules all exist in the model's blocks. For ViT and Mixer it is
#: FedRA's choice; for ResMLP and gMLP the like: the layer that mixes tokens, and the second one that mixes channels.
FAMILY_TARGETS = (
    ("attn.proj", "mlp.fc2"),
    ("mlp_tokens.fc2", "mlp_channels.fc2"),
    ("linear_tokens", "mlp_channels.fc2"),
    ("mlp_channels.gate.proj", "mlp_channels.fc2"),
    *dict.fromkeys(family.targets for family in FAMILIES.values()),
)


def build(config: BackboneConfig, blank: bool = False) -> nn.Module:
    """The model without a head and with random weights, frozen and in evaluation mode.

    Nothing is downloaded but the settings of a language model that is named on the hub.

    Args:
        config: The model.
        blank: Whether the caller replaces all weights, so that they need not be drawn.

    Raises:
        SettingError: if timm has no such model, refuses the arguments, or the model has no stack of blocks; or if the
            language model cannot be read, or is of no family that is a stack.
    """
    _check_kind(config)
    if config.source is not None:
        from fedra_ray.model.text.sources import build_stack  # imports transformers: seconds

        return build_stack(config, blank)
    try:
        with Blank() if blank else nullcontext():
            model = create_model(config.model, config.model_args)
    except Exception as error:  # what timm raises for a wrong argument, an assertion say, is as varied as its models
        raise SettingError("backbone.model", config.model, f"timm cannot make it: {_first_line(error)}") from error
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks):
        raise SettingError("backbone.model", config.model, "must have a stack of residual blocks named `blocks`")
    if _image_size(model) is None:
        raise SettingError("backbone.model", config.model, "must have a patch embedding that states its image size")
    return model.requires_grad_(False).eval()


def create_model(name: str, arguments: Mapping[str, Any], state: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """A timm model without a head, by timm's name or by the path of a class below `timm.models`.

    Args:
        name: The name or path.
        arguments: Keyword arguments of the model.
        state: A checkpoint's tensors without its classifier, which timm converts as it does for the model's family;
            None for random weights.

    Raises:
        ValueError: if there are no tensors, or the name is of another kind.
        Exception: whatever timm raises for an unknown name, a wrong argument, or tensors that do not fit exactly.
    """
    if state is not None and not state:  # timm would take it for None, and fetch its own weights from the hub
        raise ValueError("there are no tensors")
    if name.startswith("timm.models."):
        module, _, attribute = name.rpartition(".")
        model: nn.Module = getattr(importlib.import_module(module), attribute)(num_classes=0, **arguments)
        if state is not None:
            model.load_state_dict(state)
        return model
    if ":" in name:  # hf-hub:NAME and the like read a configuration from elsewhere
        raise ValueError("must be a name that timm.list_models knows")
    # The state has no classifier, so timm must expect none: else it would no longer insist that every tensor fits.
    overlay = {"state_dict": state, "classifier": None}
    weights = {} if state is None else {"pretrained": True, "pretrained_cfg_overlay": overlay}
    model = timm.create_model(name, num_classes=0, **weights, **arguments)
    return model


def input_size(model: nn.Module) -> int:
    """Side in pixels of the square images that a model of `build` takes; tokens of its longest text."""
    return model.max_length if isinstance(model, TextStack) else cast(int, _image_size(model))


def _check_kind(config: BackboneConfig) -> None:
    """Refuse settings of images for a language model, and settings of texts for a model of timm."""
    if config.source is None:
        names = ["pooling", "max_length", "quantization"]
        allowed = "is for language models, backbone.model=hf:...; set it to null"
        if config.head != BackboneConfig.head:
            raise SettingError("backbone.head", config.head, "must be trained: only language models have an own head")
    else:
        if not config.source:
            raise SettingError("backbone.model", config.model, "name a folder or a model of the hub behind hf:")
        installed = _version("transformers")
        if int(installed.split(".")[0]) < _LEAST_TRANSFORMERS:
            needed = f"needs transformers {_LEAST_TRANSFORMERS}, and {installed} is installed"
            raise SettingError("backbone.model", config.model, f"{needed}: pip install 'fedra-ray[text]'")
        names, allowed = ["mean", "std", "pretrained"], "is for models of timm; leave it at its default"
    for name in names:
        value = getattr(config, name)
        if value not in (None, False):
            raise SettingError(f"backbone.{name}", value, allowed)


def _image_size(model: nn.Module) -> int | None:
    for name in ("patch_embed", "stem"):
        size = getattr(getattr(model, name, None), "img_size", None)
        if size is not None:
            return int(size[0])
    return None


def find_targets(model: nn.Module, targets: list[str] | None) -> tuple[str, ...]:
    """Where LoRA goes.

    Args:
        model: A model with blocks.
        targets: Paths of modules inside a block; None for those of the model's family.

    Returns:
        The paths in their order, each once.

    Raises:
        SettingError: if a path is not a linear layer of every block, or None is given and the family is not known.
    """
    linear = [
        {name for name, module in block.named_modules() if isinstance(module, nn.Linear)}
        for block in cast(nn.ModuleList, model.blocks)
    ]
    common = set.intersection(*linear)
    if targets is None:
        for family in FAMILY_TARGETS:
            if common.issuperset(family):
                return family
        raise SettingError("lora.targets", None, f"name some of the blocks' linear layers: {', '.join(sorted(common))}")
    if not targets or not common.issuperset(targets):
        raise SettingError("lora.targets", targets, f"must be linear layers of the blocks: {', '.join(sorted(common))}")
    return tuple(sorted(set(targets), key=targets.index))


def check_normalisation(config: BackboneConfig) -> None:
    """Refuse a normalisation of images that is impossible or not known, before any weights are read.

    Raises:
        SettingError: as `normalisation`; never for a language model.
    """
    if config.source is None:
        normalisation(config)


def normalisation(config: BackboneConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of pixel values in [0, 1] by channel, of shape (3, 1, 1).

    Raises:
        SettingError: if a setting is impossible, or is null and nothing states the checkpoint's own value.
    """
    mean, std = (torch.tensor(_statistic(config, name)).view(3, 1, 1) for name in ("mean", "std"))
    if not torch.all(std > 0):
        raise SettingError("backbone.std", std.flatten().tolist(), "must be greater than 0")
    return mean, std


def _statistic(config: BackboneConfig, name: str) -> list[float]:
    """The mean or std: as set, else as a config.json beside the checkpoint states it, else as timm does."""
    value = getattr(config, name)
    if value is None:
        known = getattr(timm.get_pretrained_cfg(config.model), name, None)
        value = _stated_beside(config.checkpoint).get(name) or known
    if value is None:
        reason = (
            f"neither a config.json beside the checkpoint nor timm states that of {config.model}; name three numbers"
        )
        raise SettingError(f"backbone.{name}", None, reason)
    numbers = isinstance(value, list | tuple) and all(isinstance(number, int | float) for number in value)
    if not numbers or len(value) != 3 or not all(abs(number) <= _LARGEST_STATISTIC for number in value):
        raise SettingError(f"backbone.{name}", value, "must hold three numbers, one per channel")
    return [float(number) for number in value]


def _stated_beside(checkpoint: str | None) -> dict[str, Any]:
    """The pre-training that a config.json beside the checkpoint states, as timm's models on the hub have it."""
    path = resolve(checkpoint).parent / "config.json" if checkpoint else None
    if path is None or not os.path.isfile(path):
        return {}
    try:
        stated: dict[str, Any] = dict(json.loads(path.read_bytes()).get("pretrained_cfg", {}))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = "the config.json beside it is not timm's; remove it, or name backbone.mean and backbone.std"
        raise SettingError("backbone.checkpoint", checkpoint, reason) from error
    return stated


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
