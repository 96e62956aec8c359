"""Backbones: which models can be one, where LoRA goes in them, and how their images are normalised."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.backbone import build, find_targets, input_size, normalisation


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
        ("test_efficientnet", {}, "must have a patch embedding that states its image size"),
        ("hf-hub:timm/vit_tiny_patch16_224", {}, "must be a name that timm.list_models knows"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(model: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason) as refusal:
        build(BackboneConfig(model=model, model_args=arguments))
    assert refusal.value.args[:2] == ("backbone.model", model)


def test_input_size_is_that_of_the_patch_embedding(backbone_config: BackboneConfig) -> None:
    assert input_size(build(backbone_config)) == 16


def test_targets_follow_the_family(vit_config: BackboneConfig, mixer_config: BackboneConfig) -> None:
    assert find_targets(build(vit_config), None) == ("attn.proj", "mlp.fc2")
    assert find_targets(build(mixer_config), None) == ("mlp_tokens.fc2", "mlp_channels.fc2")
    with torch.device("meta"):
        resmlp, gmlp = build(BackboneConfig(model="resmlp_12_224")), build(BackboneConfig(model="gmlp_ti16_224"))
    assert find_targets(resmlp, None) == ("linear_tokens", "mlp_channels.fc2")
    assert find_targets(gmlp, None) == ("mlp_channels.gate.proj", "mlp_channels.fc2")


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


def test_normalisation_is_one_number_per_channel() -> None:
    mean, std = normalisation(BackboneConfig(mean=[0.1, 0.2, 0.3], std=[1, 2, 3]))
    assert mean.shape == std.shape == (3, 1, 1)
    assert mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert std.flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("model", "mean"),
    [
        ("vit_base_patch16_224.augreg2_in21k_ft_in1k", [0.5, 0.5, 0.5]),
        ("mixer_b16_224.goog_in21k_ft_in1k", [0.5, 0.5, 0.5]),
        ("vit_small_patch14_reg4_dinov2.lvd142m", [0.485, 0.456, 0.406]),
    ],
)
def test_normalisation_is_the_checkpoints_own_unless_set(model: str, mean: list[float]) -> None:
    stated, _ = normalisation(BackboneConfig(model=model))
    assert stated.flatten().tolist() == pytest.approx(mean)
    own, std = normalisation(BackboneConfig(model=model, std=[1, 2, 3]))
    assert torch.equal(own, stated)
    assert std.flatten().tolist() == [1, 2, 3]


def test_a_configuration_beside_the_checkpoint_states_its_normalisation(tmp_path: Path) -> None:
    stated = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    for model in ("vit_tiny_patch16_224", "timm.models.MlpMixer"):
        mean, std = normalisation(BackboneConfig(model=model, checkpoint=str(tmp_path / "model.safetensors")))
        assert mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert std.flatten().tolist() == [1, 2, 3]


def test_a_configuration_of_something_else_leaves_it_to_timm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    mean, _ = normalisation(BackboneConfig(model="vit_tiny_patch16_224", checkpoint=str(tmp_path / "model.pth")))
    assert mean.flatten().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("text", ["{", "[1]", '"text"'])
def test_a_broken_configuration_beside_the_checkpoint_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    checkpoint = str(tmp_path / "model.pth")
    with pytest.raises(SettingError, match=r"config.json beside it is not timm's") as refusal:
        normalisation(BackboneConfig(model="vit_tiny_patch16_224", checkpoint=checkpoint))
    assert refusal.value.args[:2] == ("backbone.checkpoint", checkpoint)


def test_a_model_of_unknown_normalisation_is_refused(mixer_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match=r"backbone.std=null: .* timm.models.MlpMixer; name three numbers"):
        normalisation(replace(mixer_config, std=None))


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [("mean", [0.5], "three numbers"), ("std", [0.5] * 4, "three numbers"), ("std", [0.5, 0.0, 0.5], "greater than 0")],
)
def test_an_impossible_normalisation_is_refused(setting: str, value: list[float], allowed: str) -> None:
    with pytest.raises(SettingError, match=allowed) as refusal:
        normalisation(BackboneConfig(**{"model": "vit_tiny_patch16_224", setting: value}))
    assert refusal.value.args[:2] == (f"backbone.{setting}", value)
