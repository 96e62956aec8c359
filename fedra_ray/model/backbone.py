"""The frozen pre-trained model: any timm model whose body is a stack of residual blocks called `blocks`."""

import importlib
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedra_ray.model import _torchvision  # noqa: F401  (must come before timm)

import timm  # isort: skip
import timm.models

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.config.paths import resolve
from fedra_ray.config.schema import BackboneConfig

Weights = dict[str, NDArray[Any]]


class FrozenWeights(NamedTuple):
    """The pre-trained weights as arrays ready for the object store.

    Attributes:
        evaluation: In float32.
        training: In the precision of local training: the same arrays, or bfloat16 as its bits in int16.
    """

    evaluation: Weights
    training: Weights


_LARGEST_STATISTIC = 1e6  # of pixel values in [0, 1]; refuses what is not finite, too

#: Where LoRA goes by default: the first of these whose modules all exist in the model's blocks. The paper's choice for
#: ViT and Mixer, and the like for ResMLP and gMLP: what mixes tokens, and the second layer of what mixes channels.
FAMILY_TARGETS = (
    ("attn.proj", "mlp.fc2"),
    ("mlp_tokens.fc2", "mlp_channels.fc2"),
    ("linear_tokens", "mlp_channels.fc2"),
    ("mlp_channels.gate.proj", "mlp_channels.fc2"),
)


def build(config: BackboneConfig) -> nn.Module:
    """The model without a head and with random weights; frozen and in evaluation mode. Never downloads anything.

    Raises:
        SettingError: if timm has no such model, refuses the arguments, or the model has no stack of blocks.
    """
    try:
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
        state: A checkpoint's tensors without its classifier; they must fit exactly once timm has converted them as it
            does for this model's family. Null: random weights.
    """
    if state is not None and not state:  # timm would take that for none at all, and fetch its own from the hub
        raise ValueError("there are no tensors")
    if name.startswith("timm.models."):
        module, _, attribute = name.rpartition(".")
        model: nn.Module = getattr(importlib.import_module(module), attribute)(num_classes=0, **arguments)
        if state is not None:
            model.load_state_dict(state)
        return model
    if ":" in name:  # hf-hub:NAME and the like read a configuration from elsewhere
        raise ValueError("must be a name that timm.list_models knows")
    # With the classifier gone, timm is told of none: else it would no longer insist that every tensor fits.
    overlay = {"state_dict": state, "classifier": None}
    weights = {} if state is None else {"pretrained": True, "pretrained_cfg_overlay": overlay}
    model = timm.create_model(name, num_classes=0, **weights, **arguments)
    return model


def load_weights(config: BackboneConfig) -> Weights:
    """The pre-trained state dict as arrays ready for the object store; floating-point ones as float32.

    Raises:
        SettingError: if the checkpoint is missing, unreadable, or of another model, or timm's cannot be fetched.
    """
    expected = build(config).state_dict()  # refuses a model that cannot be made before anything is read or fetched
    setting: tuple[str, Any] = ("backbone.checkpoint", config.checkpoint)
    if config.checkpoint is not None:
        state = _read(config.checkpoint)
    elif config.pretrained:
        setting = ("backbone.pretrained", True)
        state = _fetch(config.model)
    else:
        raise SettingError(*setting, "name a file, or set backbone.pretrained=true")
    try:
        _check_types(state, expected)
        model = create_model(config.model, config.model_args, _without_classifier(config.model, state))
        tensors = model.state_dict()
        _check_finite(tensors)
    except Exception as error:  # a family's conversion may stumble over any part of a foreign file
        raise SettingError(*setting, f"does not fit {config.model}: {error_text(error)}") from error
    return {name: (each.float() if each.is_floating_point() else each).numpy() for name, each in tensors.items()}


def in_precision(weights: Weights, precision: str) -> FrozenWeights:
    """The weights for evaluation and for local training at `training.precision`."""
    if precision != "bf16":
        return FrozenWeights(weights, weights)
    halves = {
        name: torch.from_numpy(value).bfloat16().view(torch.int16).numpy() if value.dtype == np.float32 else value
        for name, value in weights.items()
    }
    return FrozenWeights(weights, halves)


def _read(checkpoint: str) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, or of a torch file, of which nothing but tensors is unpickled."""
    path = resolve(checkpoint)
    if not os.path.isfile(path):  # false for any name, where Path.is_file raises if it is too long
        raise SettingError("backbone.checkpoint", checkpoint, "no such file")
    try:
        state: dict[str, torch.Tensor] = timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # torch, safetensors and pickle each raise their own kinds for a bad file
        reason = f"cannot be read as safetensors or as tensors of torch: {error_text(error)}"
        raise SettingError("backbone.checkpoint", checkpoint, reason) from error
    return state


def _fetch(name: str) -> dict[str, torch.Tensor]:
    """Tensors of timm's own checkpoint of a model, from the Hugging Face hub or its cache on this machine."""
    entry = timm.get_pretrained_cfg(name)
    advice = "name a file: backbone.checkpoint=FILE"
    if entry is None or not entry.hf_hub_id:
        raise SettingError("backbone.pretrained", True, f"the hub has no weights of {name}; {advice}")
    try:
        state: dict[str, torch.Tensor] = timm.models.load_state_dict_from_hf(entry.hf_hub_id, weights_only=True)
    except Exception as error:  # network, hub and file system each fail in their own way
        reason = f"{entry.hf_hub_id} cannot be fetched ({error_text(error)}); {advice}"
        raise SettingError("backbone.pretrained", True, reason) from error
    return state


def _check_types(state: Mapping[str, Any], expected: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError naming the first entry that is no tensor, or has other kinds of numbers than the model."""
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} is no tensor")
        if name in expected and value.is_floating_point() != expected[name].is_floating_point():
            raise ValueError(f"{name} has values of type {value.dtype}")


def _check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError naming the first tensor with a value that is not finite."""
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} has values that are not finite")


def _without_classifier(name: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    classifier = getattr(timm.get_pretrained_cfg(name), "classifier", None) or "head"
    names = (classifier,) if isinstance(classifier, str) else classifier
    prefixes = tuple(f"{each}." for each in names)
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def from_weights(config: BackboneConfig, weights: Mapping[str, NDArray[Any]]) -> nn.Module:
    """The model over arrays that it shares instead of copying: every actor of a node reads the same memory.

    Arrays of int16 are the bits of bfloat16.
    """
    model = build(config)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    halves = {name: each.view(torch.bfloat16) for name, each in tensors.items() if each.dtype == torch.int16}
    model.load_state_dict(tensors | halves, assign=True)
    return model.requires_grad_(False).eval()


def input_size(model: nn.Module) -> int:
    """Side in pixels of the square images that a model made by `build` takes."""
    return cast(int, _image_size(model))


def _image_size(model: nn.Module) -> int | None:
    for name in ("patch_embed", "stem"):
        size = getattr(getattr(model, name, None), "img_size", None)
        if size is not None:
            return int(size[0])
    return None


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
    """Mean and standard deviation of pixel values in [0, 1], shape (3, 1, 1).

    Raises:
        SettingError: if a setting is impossible, or is null and nothing states the checkpoint's own value.
    """
    mean, std = (torch.tensor(_statistic(config, name)).view(3, 1, 1) for name in ("mean", "std"))
    if not torch.all(std > 0):
        raise SettingError("backbone.std", std.flatten().tolist(), "must be greater than 0")
    return mean, std


def _statistic(config: BackboneConfig, name: str) -> list[float]:
    """The mean or std: as set, else of a timm config.json beside the checkpoint, else of timm's entry."""
    value = getattr(config, name)
    if value is None:
        value = _stated_beside(config.checkpoint).get(name) or getattr(
            timm.get_pretrained_cfg(config.model), name, None
        )
    if value is None:
        reason = (
            f"neither a config.json beside the checkpoint nor timm states that of {config.model}; name three numbers"
        )
        raise SettingError(f"backbone.{name}", None, reason)
    numbers = isinstance(value, list | tuple) and all(isinstance(each, int | float) for each in value)
    if not numbers or len(value) != 3 or not all(abs(each) <= _LARGEST_STATISTIC for each in value):
        raise SettingError(f"backbone.{name}", value, "must hold three numbers, one a channel")
    return [float(each) for each in value]


def _stated_beside(checkpoint: str | None) -> dict[str, Any]:
    """What the hub's config.json of a timm model, if it lies beside a checkpoint, says about its pre-training."""
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
