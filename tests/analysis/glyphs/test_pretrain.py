"""Pretraining: resume, block drop, errors."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from analysis.glyphs import pretrain as module
from analysis.glyphs.images import load_images
from analysis.glyphs.pretrain import only_blocks, pretrain
from analysis.glyphs.settings import PretrainConfig
from fedra_ray.config.errors import SettingError
from fedra_ray.model.backbone import create_model

VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "depth": 4}


def _png(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    """Eight steps on 24 random images of three classes."""
    rng = np.random.default_rng(0)
    labels = [index % 3 for index in range(24)]
    split = ["validation" if index < 6 else "train" for index in range(24)]
    table = pa.table({"image": [_png(rng) for _ in labels], "label": labels, "split": split})
    pq.write_table(table, tmp_path / "data.parquet")
    return PretrainConfig(
        data=str(tmp_path / "data.parquet"),
        out=str(tmp_path / "whole" / "vit.safetensors"),
        model="vit_tiny_patch16_224",
        model_args=VIT,
        steps=8,
        batch_size=4,
        warmup=2,
        block_drop=0.3,
        checkpoint_every=3,
    )


def test_interrupted_run_resumes_to_identical_bits(
    config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(pretrain(config))
    parted = replace(config, out=str(tmp_path / "parted" / "vit.safetensors"))
    train_step = module._Run.train_step

    def interrupted(run: module._Run, images: Tensor, labels: Tensor) -> float:
        if run.step == 5:
            raise KeyboardInterrupt
        return train_step(run, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(module._Run, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain(parted)
    resumed = load_file(pretrain(parted))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_output_is_the_half_precision_state_dict_of_the_model(config: PretrainConfig) -> None:
    weights = load_file(pretrain(replace(config, steps=1)))
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    create_model(config.model, config.model_args).load_state_dict(weights)


def test_state_of_another_configuration_is_refused(config: PretrainConfig) -> None:
    pretrain(replace(config, steps=2))
    with pytest.raises(SettingError, match="another configuration"):
        pretrain(replace(config, steps=2, lr=1.0))


def test_dropped_blocks_do_not_contribute() -> None:
    torch.manual_seed(0)
    model = create_model("vit_tiny_patch16_224", VIT).eval()
    images = torch.randn(2, 3, 16, 16)
    before = model(images)
    with only_blocks(model, [0, 2]):
        reduced = model(images)
    for index in (1, 3):
        for name in ("attn.proj", "mlp.fc2"):
            layer = model.get_submodule(f"blocks.{index}.{name}")
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    # blocks that add nothing, or are not there
    torch.testing.assert_close(model(images), reduced, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(before, reduced)


def test_only_blocks_restores_the_model_after_an_error() -> None:
    model = create_model("vit_tiny_patch16_224", VIT)
    with pytest.raises(RuntimeError), only_blocks(model, [0]):
        raise RuntimeError
    assert len(model.get_submodule("blocks")) == 4  # type: ignore[arg-type]


def test_blocks_are_dropped_at_the_configured_rate(config: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    def record(model: torch.nn.Module, indices: list[int]) -> object:
        kept.append(len(indices))
        return only_blocks(model, indices)

    run = module._Run(config, 3)
    monkeypatch.setattr(module, "only_blocks", record)
    images, labels = load_images(config.data, "train")
    for _ in range(100):
        run.train_step(images, labels)
    assert 0.6 < np.mean(kept) / 4 < 0.8


def test_dotted_name_builds_a_timm_class() -> None:
    arguments = {"img_size": 16, "patch_size": 8, "num_blocks": 3, "embed_dim": 16}
    model = create_model("timm.models.mlp_mixer.MlpMixer", arguments)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 16)


@pytest.mark.parametrize(("name", "value"), [("block_drop", 1.0), ("steps", 0), ("data", "absent.parquet")])
def test_impossible_setting_is_named(config: PretrainConfig, name: str, value: float | str) -> None:
    with pytest.raises(SettingError, match=name):
        pretrain(replace(config, **{name: value}))
