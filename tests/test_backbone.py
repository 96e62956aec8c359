import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fedra_ray.backbone import build, find_targets, from_weights, input_size, load_weights, normalisation
from fedra_ray.config import BackboneConfig
from fedra_ray.errors import SettingError

Plain = Callable[..., torch.nn.Module]


def test_the_model_shares_the_arrays_instead_of_copying_them(backbone_config: BackboneConfig) -> None:
    weights = load_weights(backbone_config)
    state = from_weights(backbone_config, weights).state_dict()
    assert set(state) == set(weights)
    assert all(np.shares_memory(state[name].numpy(), value) for name, value in weights.items())


def test_read_only_arrays_are_taken_without_a_warning(vit_config: BackboneConfig, images: torch.Tensor) -> None:
    weights = load_weights(vit_config)
    for value in weights.values():
        value.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = from_weights(vit_config, weights)
    assert torch.isfinite(model(images)).all()


def test_weights_are_those_of_the_checkpoint(
    backbone_config: BackboneConfig, plain_model: Plain, images: torch.Tensor
) -> None:
    model = from_weights(backbone_config, load_weights(backbone_config))
    assert torch.equal(model(images), plain_model(backbone_config, range(4), num_classes=0)(images))


def test_the_model_is_frozen_and_evaluates(backbone_config: BackboneConfig) -> None:
    model = from_weights(backbone_config, load_weights(backbone_config))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_weights_do_not_depend_on_the_random_state(vit_config: BackboneConfig) -> None:
    torch.manual_seed(1)
    first = load_weights(vit_config)
    torch.manual_seed(2)
    second = load_weights(vit_config)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert {value.dtype for value in first.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("model", "arguments", "reason"),
    [
        ("no_such_model", {}, "Unknown model"),
        ("timm.models.NoSuchModel", {}, "no attribute"),
        ("timm.models.no_such_module.Model", {}, "No module"),
        ("vit_tiny_patch16_224", {"no_such_argument": 1}, "no_such_argument"),
        ("vit_tiny_patch16_224", {"embed_dim": 16, "num_heads": 3}, "divisible"),
        ("vit_tiny_patch16_224", {"embed_dim": 16, "num_heads": 0}, "zero"),
        ("vit_tiny_patch16_224", {"embed_dim": 16, "num_heads": 2, "depth": 0}, "must have a stack"),
        ("test_resnet", {}, "must have a stack of residual blocks named `blocks`"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(model: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason) as refusal:
        build(BackboneConfig(model=model, model_args=arguments))
    assert refusal.value.args[:2] == ("backbone.model", model)


def test_a_checkpoint_has_to_be_named(vit_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match=r"backbone.checkpoint=null: name a file"):
        load_weights(replace(vit_config, checkpoint=None))


def test_a_missing_checkpoint_is_refused(vit_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match=r"backbone.checkpoint=/nowhere/vit.pth: no such file"):
        load_weights(replace(vit_config, checkpoint="/nowhere/vit.pth"))


def test_a_checkpoint_of_another_model_is_refused(vit_config: BackboneConfig, mixer_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match="does not fit vit_tiny_patch16_224") as refusal:
        load_weights(replace(vit_config, checkpoint=mixer_config.checkpoint))
    assert refusal.value.args[:2] == ("backbone.checkpoint", mixer_config.checkpoint)


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_an_unreadable_checkpoint_is_refused(name: str, vit_config: BackboneConfig, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not a checkpoint")
    with pytest.raises(SettingError, match="does not fit") as refusal:
        load_weights(replace(vit_config, checkpoint=str(tmp_path / name)))
    assert refusal.value.args[:2] == ("backbone.checkpoint", str(tmp_path / name))


def test_an_incomplete_checkpoint_is_refused(vit_config: BackboneConfig, tmp_path: Path) -> None:
    state = {name: torch.from_numpy(value) for name, value in load_weights(vit_config).items()}
    del state["blocks.1.attn.proj.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(SettingError, match="does not fit"):
        load_weights(replace(vit_config, checkpoint=str(tmp_path / "part.safetensors")))


def test_input_size_is_that_of_the_patch_embedding(backbone_config: BackboneConfig) -> None:
    assert input_size(build(backbone_config)) == 16


def test_targets_follow_the_family(vit_config: BackboneConfig, mixer_config: BackboneConfig) -> None:
    assert find_targets(build(vit_config), None) == ("attn.proj", "mlp.fc2")
    assert find_targets(build(mixer_config), None) == ("mlp_tokens.fc2", "mlp_channels.fc2")


def test_named_targets_keep_their_order_and_lose_repetitions(vit_config: BackboneConfig) -> None:
    assert find_targets(build(vit_config), ["mlp.fc1", "attn.qkv", "mlp.fc1"]) == ("mlp.fc1", "attn.qkv")


@pytest.mark.parametrize("targets", [[], ["attn"], ["attn.proj", "patch_embed.proj"], ["proj"]])
def test_targets_that_are_no_linear_layers_are_refused(targets: list[str], vit_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match=r"attn.proj, attn.qkv, mlp.fc1, mlp.fc2") as refusal:
        find_targets(build(vit_config), targets)
    assert refusal.value.args[:2] == ("lora.targets", targets)


def test_a_model_of_no_known_family_asks_for_targets() -> None:
    model = torch.nn.Module()
    model.blocks = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU())])
    with pytest.raises(SettingError, match=r"lora.targets=null: name some of the blocks' linear layers: 0"):
        find_targets(model, None)


def test_normalisation_is_a_number_a_channel() -> None:
    mean, std = normalisation(BackboneConfig(mean=[0.1, 0.2, 0.3], std=[1, 2, 3]))
    assert mean.shape == std.shape == (3, 1, 1)
    assert mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert std.flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [("mean", [0.5], "three numbers"), ("std", [0.5] * 4, "three numbers"), ("std", [0.5, 0.0, 0.5], "greater than 0")],
)
def test_an_impossible_normalisation_is_refused(setting: str, value: list[float], allowed: str) -> None:
    with pytest.raises(SettingError, match=allowed) as refusal:
        normalisation(replace(BackboneConfig(), **{setting: value}))
    assert refusal.value.args[:2] == (f"backbone.{setting}", value)
