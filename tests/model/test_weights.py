"""Frozen weights: what a checkpoint or the hub must hold, and that a model shares them."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.backbone import build
from fedra_ray.model.weights import from_weights, load_weights

import timm  # isort: skip  (fedra_ray lets it import beside a CPU-only torch)

VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "depth": 4}
MIXER = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_blocks": 4}

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
    expected = plain_model(backbone_config, range(4), num_classes=0)(images)  # records a graph: other kernels
    torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-6)


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


def test_a_checkpoint_has_to_be_named(vit_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match=r"backbone.checkpoint=null: name a file"):
        load_weights(replace(vit_config, checkpoint=None))


def test_a_missing_checkpoint_is_refused(vit_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match=r"backbone.checkpoint=/nowhere/vit.pth: no such file"):
        load_weights(replace(vit_config, checkpoint="/nowhere/vit.pth"))


@pytest.mark.parametrize(
    ("model", "arguments", "classifiers"),
    [
        ("vit_tiny_patch16_224", VIT, ["head"]),
        ("deit_tiny_distilled_patch16_224", VIT, ["head", "head_dist"]),
        ("eva02_tiny_patch14_224", VIT | {"patch_size": 8}, ["head"]),
        ("timm.models.MlpMixer", MIXER, ["head"]),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_classifier_of_a_checkpoint_is_left_out(
    model: str, arguments: dict[str, Any], classifiers: list[str], suffix: str, tmp_path: Path
) -> None:
    config = BackboneConfig(model=model, model_args=arguments, checkpoint=str(tmp_path / f"model{suffix}"))
    headless = build(config).state_dict()
    state = {name: torch.randn_like(value) for name, value in headless.items()}
    heads = {f"{name}.{part}": torch.zeros(1000) for name in classifiers for part in ("weight", "bias")}
    save = save_file if suffix == ".safetensors" else torch.save
    save(state | heads, config.checkpoint)
    weights = load_weights(config)
    assert set(weights) == set(headless)
    assert all(np.array_equal(weights[name], value.numpy()) for name, value in state.items())


def test_names_of_the_original_authors_are_converted_as_timm_does(tmp_path: Path) -> None:
    """DeiT III's own files call the layer scale gamma_1 and gamma_2."""
    file = str(tmp_path / "deit3.safetensors")
    config = BackboneConfig(model="deit3_small_patch16_224", model_args=VIT, checkpoint=file)
    state = {name: torch.randn_like(value) for name, value in build(config).state_dict().items()}
    original = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): state[name] for name in state}
    assert set(original) != set(state)
    save_file(original, config.checkpoint)
    weights = load_weights(config)
    assert all(np.array_equal(weights[name], value.numpy()) for name, value in state.items())


def test_integer_buffers_keep_their_type(tmp_path: Path) -> None:
    arguments = {"img_size": 32, "embed_dim": 16, "num_heads": 2, "depth": 1}
    file = str(tmp_path / "xcit.pth")
    config = BackboneConfig(model="xcit_nano_12_p16_224", model_args=arguments, checkpoint=file)
    state = build(config).state_dict()
    counters = [name for name, value in state.items() if value.dtype == torch.int64]
    assert counters
    for name in counters:
        state[name] += 2**40 + 1  # more than float32 can tell apart
    torch.save(state, file)
    weights = load_weights(config)
    assert {int(weights[name]) for name in counters} == {2**40 + 1}
    assert from_weights(config, weights).state_dict()[counters[0]].dtype == torch.int64


def test_a_pickle_is_not_run(vit_config: BackboneConfig, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": Payload()}, tmp_path / "payload.pth")
    with pytest.raises(SettingError, match="cannot be read"):
        load_weights(replace(vit_config, checkpoint=str(tmp_path / "payload.pth")))
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_goes_before_the_hub(vit_config: BackboneConfig) -> None:
    assert vit_config.checkpoint is not None
    weights, expected = load_weights(replace(vit_config, pretrained=True)), load_weights(vit_config)
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def test_a_class_has_no_weights_on_the_hub(mixer_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match=r"the hub has no weights of timm.models.MlpMixer; name a file") as refusal:
        load_weights(replace(mixer_config, checkpoint=None, pretrained=True))
    assert refusal.value.args[:2] == ("backbone.pretrained", True)


def test_weights_of_the_hub_come_from_its_cache_or_end_in_one_line(tmp_path: Path) -> None:
    """Offline, in a process of its own, for the hub's client reads its environment when it is imported."""
    name = timm.get_pretrained_cfg("vit_tiny_patch16_224").hf_hub_id
    cached = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots" / ("0" * 40)).mkdir(parents=True)
    state = timm.create_model("vit_tiny_patch16_224", num_classes=1000, **VIT).state_dict()
    save_file(state, cached / "snapshots" / ("0" * 40) / "model.safetensors")
    program = f"""
import numpy as np
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.model.backbone import build
from fedra_ray.model.weights import load_weights
cached = BackboneConfig(model="vit_tiny_patch16_224", model_args={VIT!r}, pretrained=True)
print(round(float(load_weights(cached)["patch_embed.proj.weight"].sum()), 3))
for config in (
    BackboneConfig(model="vit_tiny_patch16_224", model_args={VIT | {"depth": 5}!r}, pretrained=True),
    BackboneConfig(model="vit_small_patch16_224", model_args={VIT!r}, pretrained=True),
):
    build(config)
    try:
        load_weights(config)
    except SettingError as error:
        print(error)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    total, deeper, absent = ran.stdout.splitlines()
    assert float(total) == pytest.approx(state["patch_embed.proj.weight"].sum().item(), abs=1e-3)
    assert deeper.startswith("backbone.pretrained=True: does not fit vit_tiny_patch16_224: ")
    assert absent.startswith("backbone.pretrained=True: timm/vit_small_patch16_224")
    assert " cannot be fetched (" in absent
    assert absent.endswith("; name a file: backbone.checkpoint=FILE")


def test_a_checkpoint_of_another_model_is_refused(vit_config: BackboneConfig, mixer_config: BackboneConfig) -> None:
    with pytest.raises(SettingError, match="does not fit vit_tiny_patch16_224") as refusal:
        load_weights(replace(vit_config, checkpoint=mixer_config.checkpoint))
    assert refusal.value.args[:2] == ("backbone.checkpoint", mixer_config.checkpoint)


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_an_unreadable_checkpoint_is_refused(name: str, vit_config: BackboneConfig, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not a checkpoint")
    with pytest.raises(SettingError, match="cannot be read") as refusal:
        load_weights(replace(vit_config, checkpoint=str(tmp_path / name)))
    assert refusal.value.args[:2] == ("backbone.checkpoint", str(tmp_path / name))


def test_an_incomplete_checkpoint_is_refused(vit_config: BackboneConfig, tmp_path: Path) -> None:
    state = {name: torch.from_numpy(value) for name, value in load_weights(vit_config).items()}
    del state["blocks.1.attn.proj.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(SettingError, match="does not fit"):
        load_weights(replace(vit_config, checkpoint=str(tmp_path / "part.safetensors")))
