"""The frozen model's weights: read from a file or fetched from the hub, checked, and shared as arrays."""

import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

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
from fedra_ray.model.backbone import build, create_model
from fedra_ray.model.blank import Blank
from fedra_ray.model.quantized import quantize

#: A state dict as arrays, by the names of the timm model's tensors.
Weights = dict[str, NDArray[Any]]


class FrozenWeights(NamedTuple):
    """The pre-trained weights as arrays that processes of one node can share.

    Attributes:
        evaluation: Floating-point ones in float32.
        training: The same arrays if clients train in float32; for bfloat16 its bits as int16, which numpy knows.
    """

    evaluation: Weights
    training: Weights


def load_weights(config: BackboneConfig) -> Weights:
    """Read or fetch the pre-trained weights, and check that they fit the model.

    Returns:
        The model's state dict without a classifier: floating-point tensors in float32, others, among them quantised
        weights, in their own type.

    Raises:
        SettingError: if the model cannot be made; if the checkpoint is missing, unreadable, not finite or of another
            model; or if timm's own, or a language model, cannot be fetched.
    """
    if config.source is not None:
        return _load_text(config)
    # refuses a model that cannot be made before anything is read or fetched
    expected = build(config, blank=True).state_dict()
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
        with Blank():
            model = create_model(config.model, config.model_args, _without_classifier(config.model, state))
        tensors = model.state_dict()
        _check_finite(tensors)
    except Exception as error:  # a family's conversion may stumble over any part of a foreign file
        raise SettingError(*setting, f"does not fit {config.model}: {error_text(error)}") from error
    return _arrays(tensors)


def _load_text(config: BackboneConfig) -> Weights:
    """The weights of a language model."""
    build(config)  # refuses settings of images, and names them
    from fedra_ray.model.text.sources import load_stack  # imports transformers: seconds

    stack = load_stack(config)
    try:
        _check_finite(stack.state_dict())
    except ValueError as error:
        raise SettingError("backbone.model", config.model, f"cannot be used: {error}") from error
    if config.quantization is not None:
        quantize(stack.blocks, config.quantization)
    return _arrays(stack.state_dict())


def _arrays(tensors: Mapping[str, torch.Tensor]) -> Weights:
    """The tensors as arrays: floating-point ones in float32, others in their own type."""
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in tensors.items()}


def from_weights(config: BackboneConfig, weights: Mapping[str, NDArray[Any]]) -> nn.Module:
    """The model over these arrays, frozen and in evaluation mode.

    It shares their memory instead of copying it, so that every actor of a node reads the same.

    Args:
        config: The model.
        weights: Its state dict; arrays of int16 are the bits of bfloat16.
    """
    model = build(config, blank=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    halves = {name: value.view(torch.bfloat16) for name, value in tensors.items() if value.dtype == torch.int16}
    model.load_state_dict(tensors | halves, assign=True)
    return model.requires_grad_(False).eval()


def in_precision(weights: Weights, precision: str) -> FrozenWeights:
    """The weights for evaluation, and for local training in `training.precision`: fp32 or bf16."""
    if precision != "bf16":
        return FrozenWeights(weights, weights)
    halves = {
        name: torch.from_numpy(value).bfloat16().view(torch.int16).numpy() if value.dtype == np.float32 else value
        for name, value in weights.items()
    }
    return FrozenWeights(weights, halves)


def _read(checkpoint: str) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file or of a torch file. Nothing but tensors is unpickled: no code runs."""
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
    """The tensors that remain when the classifiers that timm names for a model, or else `head`, are taken out."""
    classifier = getattr(timm.get_pretrained_cfg(name), "classifier", None) or "head"
    names = (classifier,) if isinstance(classifier, str) else classifier
    prefixes = tuple(f"{module}." for module in names)
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}
