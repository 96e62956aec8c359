"""The frozen pre-trained model: any timm model whose body is a stack of residual blocks called `blocks`."""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedra_ray import _torchvision  # noqa: F401  (must come before timm)

import timm  # isort: skip
import timm.models

from fedra_ray.config import BackboneConfig
from fedra_ray.errors import SettingError
from fedra_ray.paths import resolve

Weights = dict[str, NDArray[Any]]

#: Where LoRA goes by default: the first of these whose modules all exist in the model's blocks (ViT, then Mixer).
FAMILY_TARGETS = (("attn.proj", "mlp.fc2"), ("mlp_tokens.fc2", "mlp_channels.fc2"))


def build(config: BackboneConfig) -> nn.Module:
    """The model without a head and, unless `pretrained`, with random weights; frozen and in evaluation mode.

    Raises:
        SettingError: if timm has no such model, refuses the arguments, or the model has no stack of blocks.
    """
    try:
        model = create_model(config.model, config.model_args, config.pretrained)
    except Exception as error:  # what timm raises for a wrong argument, an assertion say, is as varied as its models
        raise SettingError("backbone.model", config.model, f"timm cannot make it: {_first_line(error)}") from error
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks):
        raise SettingError("backbone.model", config.model, "must have a stack of residual blocks named `blocks`")
    return model.requires_grad_(False).eval()


def create_model(name: str, arguments: Mapping[str, Any], pretrained: bool = False) -> nn.Module:
    """A timm model without a head, by timm's name or by the path of a class below `timm.models`."""
    if name.startswith("timm.models."):
        module, _, attribute = name.rpartition(".")
        model: nn.Module = getattr(importlib.import_module(module), attribute)(num_classes=0, **arguments)
        return model
    model = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    return model


def load_weights(config: BackboneConfig) -> Weights:
    """The pre-trained state dict as float32 arrays, ready for the object store.

    Raises:
        SettingError: if the checkpoint is missing, unreadable, or of another model.
    """
    model = build(config)
    if not config.pretrained:
        if config.checkpoint is None:
            raise SettingError("backbone.checkpoint", None, "name a file, or set backbone.pretrained=true")
        path = resolve(config.checkpoint)
        if not path.is_file():
            raise SettingError("backbone.checkpoint", config.checkpoint, "no such file")
        try:
            timm.models.load_checkpoint(model, str(path))
        except Exception as error:  # torch, safetensors and pickle each raise their own kinds for a bad file
            reason = f"does not fit {config.model}: {' '.join(str(error).split())[:300]}"
            raise SettingError("backbone.checkpoint", config.checkpoint, reason) from error
    return {name: value.float().numpy() for name, value in model.state_dict().items()}


def from_weights(config: BackboneConfig, weights: Mapping[str, NDArray[Any]]) -> nn.Module:
    """The model over arrays that it shares instead of copying: every actor of a node reads the same memory."""
    model = build(_without_download(config))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(False).eval()


def _without_download(config: BackboneConfig) -> BackboneConfig:
    return BackboneConfig(model=config.model, model_args=config.model_args)


def input_size(model: nn.Module) -> int:
    """Side in pixels of the square images that the model takes."""
    for name in ("patch_embed", "stem"):
        size = getattr(getattr(model, name, None), "img_size", None)
        if size is not None:
            return int(size[0])
    raise SettingError("backbone.model", type(model).__name__, "its patch embedding states no image size")


def find_targets(model: nn.Module, targets: list[str] | None) -> tuple[str, ...]:
    """Where LoRA goes: module paths inside a block.

    Raises:
        SettingError: if a path is not a linear layer of every block.
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


def normalisation(config: BackboneConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of pixel values in [0, 1], shape (3, 1, 1)."""
    for setting, value in (("backbone.mean", config.mean), ("backbone.std", config.std)):
        if len(value) != 3:
            raise SettingError(setting, value, "must hold three numbers, one a channel")
    if not np.all(np.asarray(config.std) > 0):
        raise SettingError("backbone.std", config.std, "must be greater than 0")
    return torch.tensor(config.mean).view(3, 1, 1), torch.tensor(config.std).view(3, 1, 1)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
