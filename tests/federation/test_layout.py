"""The layout of the flat adapter, and the promise that its file loads into the plain timm model with PEFT."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.model.backbone import FAMILY_TARGETS
from fedra_ray.model.submodel import SubModel
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.peft_export import read_peft, save_peft

LORA = LoraConfig(rank=2, alpha=3.0, dropout=0.5)


def layer(index: int) -> tuple[Entry, ...]:
    return (Entry(f"blocks.{index}.fc.lora_A", (2, 3)), Entry(f"blocks.{index}.fc.lora_B", (4, 2)))


def head(name: str) -> tuple[Entry, ...]:
    return (Entry(f"heads.{name}.weight", (3, 4)), Entry(f"heads.{name}.bias", (3,)))


LAYOUT = Layout((layer(0), layer(1)), (head("shallow"), head("deep")), ("shallow", "deep"))
VALUES = np.arange(58, dtype=np.float32)


@pytest.fixture
def on_plain_model(
    plain_model: Callable[..., torch.nn.Module], tmp_path: Path
) -> Callable[[BackboneConfig], torch.nn.Module]:
    """on_plain_model(backbone): the plain timm model of the backbone with the adapter saved in tmp_path."""
    from peft import PeftModel

    def load(backbone: BackboneConfig) -> torch.nn.Module:
        plain = plain_model(backbone, range(4), num_classes=0)
        plain.reset_classifier(3)
        return PeftModel.from_pretrained(plain, str(tmp_path)).eval()

    return load


def test_layers_lie_first_then_heads() -> None:
    assert LAYOUT.segments == [slice(0, 14), slice(14, 28), slice(28, 43), slice(43, 58)]


def test_tensors_are_views_of_the_flat_vector() -> None:
    tensors = LAYOUT.tensors(VALUES)
    assert list(tensors) == [entry.name for segment in LAYOUT.entries for entry in segment]
    assert tensors["blocks.0.fc.lora_A"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["blocks.1.fc.lora_B"].tolist() == [[20, 21], [22, 23], [24, 25], [26, 27]]
    assert tensors["heads.deep.bias"].tolist() == [55, 56, 57]
    assert all(np.shares_memory(tensor, VALUES) for tensor in tensors.values())


def test_held_segments_are_ascending_whatever_the_order_of_layers() -> None:
    assert LAYOUT.held([1, 0], ["deep"]) == [0, 1, 3]
    assert LAYOUT.held([], ["deep", "shallow"]) == [2, 3]
    assert LAYOUT.held([1], []) == [1]


def test_the_patch_embedding_lies_behind_the_heads() -> None:
    patch = (Entry("patch_embed.proj.lora_A", (2, 3, 4, 4)), Entry("patch_embed.proj.lora_B", (5, 2, 1, 1)))
    layout = replace(LAYOUT, extras=(patch,), extra_names=("patch_embedding",))
    assert layout.extra_names == ("patch_embedding",)
    assert LAYOUT.extra_names == ()
    assert layout.segments == [*LAYOUT.segments, slice(58, 164)]
    assert layout.held([1], ["patch_embedding", "shallow"]) == [1, 2, 4]
    with pytest.raises(ValueError, match="tuple"):
        LAYOUT.held([1], ["patch_embedding"])
    first = layout.tensors(layout.initial(0))
    assert not first["patch_embed.proj.lora_B"].any()
    largest = np.abs(first["patch_embed.proj.lora_A"]).max()
    assert 0.9 / np.sqrt(48) < largest <= 1 / np.sqrt(48)
    assert layout.initial(0)[:58].tobytes() == LAYOUT.initial(0).tobytes()


def test_unknown_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="tuple"):
        LAYOUT.held([0], ["middle"])


def test_pack_keeps_only_what_is_held() -> None:
    packed = LAYOUT.pack(VALUES, LAYOUT.held([1], ["deep"]))
    assert packed.tolist() == [*range(14, 28), *range(43, 58)]
    assert LAYOUT.pack(VALUES, range(4)).tobytes() == VALUES.tobytes()


def test_initial_values_follow_the_seed() -> None:
    assert LAYOUT.initial(1).dtype == np.float32
    assert LAYOUT.initial(1).tobytes() == LAYOUT.initial(1).tobytes()
    assert LAYOUT.initial(1).tobytes() != LAYOUT.initial(2).tobytes()


def test_initial_adapter_changes_nothing_but_can_learn() -> None:
    for name, value in LAYOUT.tensors(LAYOUT.initial(0)).items():
        if name.endswith("lora_A"):
            assert len(np.unique(value)) == value.size
            assert np.abs(value).max() <= 1 / np.sqrt(3)
        else:
            assert not value.any()


def test_random_heads_leave_the_factors_as_they_are() -> None:
    start, random = LAYOUT.initial(0), replace(LAYOUT, random_heads=True).initial(0)
    heads = slice(LAYOUT.segments[2].start, LAYOUT.segments[3].stop)
    assert random[: heads.start].tobytes() == start[: heads.start].tobytes()
    assert len(np.unique(random[heads])) == heads.stop - heads.start
    assert np.abs(random[heads]).max() <= 1 / np.sqrt(4)


def test_initial_lora_a_is_spread_as_peft_spreads_it() -> None:
    wide = Layout(((Entry("blocks.0.fc.lora_A", (50, 400)),),), (), ())
    values = wide.initial(0)
    assert values.std() == pytest.approx(1 / np.sqrt(400) / np.sqrt(3), rel=0.02)
    assert values.mean() == pytest.approx(0, abs=0.001)


def test_saved_adapter_repeats_byte_by_byte(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save_peft(Folder(tmp_path / name), LAYOUT, VALUES, LORA, ["fc"])
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert set(contents(tmp_path / "first")) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "exits.safetensors",
    }


def test_saved_adapter_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    save_peft(Folder(tmp_path / "here"), LAYOUT, VALUES, LORA, ["attn.proj", "mlp.fc2"])
    program = f"""
import numpy as np
from fedra_ray.federation.layout import Entry, Layout; from fedra_ray.run_dir.peft_export import save_peft
from fedra_ray.config.schema import LoraConfig
from fedra_ray.run_dir.folder import Folder
values = np.arange(58, dtype=np.float32)
save_peft(Folder({str(tmp_path / "there")!r}), {LAYOUT!r}, values, {LORA!r}, ["attn.proj", "mlp.fc2"])
"""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_heads_before_the_last_lie_beside_the_adapter(tmp_path: Path) -> None:
    save_peft(Folder(tmp_path), LAYOUT, VALUES, LORA, ["fc"])
    adapter, exits = load_file(tmp_path / "adapter_model.safetensors"), load_file(tmp_path / "exits.safetensors")
    assert adapter["base_model.model.head.bias"].tolist() == [55, 56, 57]
    assert adapter["base_model.model.blocks.1.fc.lora_A.weight"].tolist() == [[14, 15, 16], [17, 18, 19]]
    assert set(exits) == {"shallow.weight", "shallow.bias"}
    assert exits["shallow.bias"].tolist() == [40, 41, 42]


def test_one_head_leaves_no_exits_file(tmp_path: Path) -> None:
    save_peft(Folder(tmp_path), Layout((layer(0),), (head("head"),), ("head",)), np.zeros(29, np.float32), LORA, ["fc"])
    assert set(contents(tmp_path)) == {"adapter_config.json", "adapter_model.safetensors"}


def test_saved_adapter_loads_into_the_plain_timm_model(
    backbone_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Callable[..., np.ndarray],
    on_plain_model: Callable[[BackboneConfig], torch.nn.Module],
    images: torch.Tensor,
    tmp_path: Path,
) -> None:
    model = make_model(backbone_config, lora=LORA)
    values = random_values(model.layout)
    targets = FAMILY_TARGETS[backbone_config.name == "tiny_mixer"]
    save_peft(Folder(tmp_path), model.layout, values, LORA, targets)
    model.load(values, range(len(model.layout.entries)))
    with torch.inference_mode():
        loaded = on_plain_model(backbone_config)
        expected = loaded(images)
        with loaded.disable_adapter():
            unadapted = loaded(images)
        # (W + B A) x here, W x + B A x there
        torch.testing.assert_close(model.eval().logits(images, range(4)), expected, rtol=1e-4, atol=1e-5)
    assert (unadapted - expected).abs().mean() > 1e-2
    adapted = {name.removesuffix(".lora_A.default") for name, _ in loaded.named_modules() if "lora_A.d" in name}
    assert adapted == {f"base_model.model.blocks.{index}.{target}" for index in range(4) for target in targets}


def test_ranks_that_no_client_has_had_are_left_out_and_the_scale_stays(
    backbone_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Callable[..., np.ndarray],
    on_plain_model: Callable[[BackboneConfig], torch.nn.Module],
    images: torch.Tensor,
    tmp_path: Path,
) -> None:
    lora = replace(LORA, rank=5)
    model = make_model(backbone_config, lora=lora)
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    model.cut({0: 2, 1: 3})
    values = model.pack(range(len(model.layout.entries)))
    targets = FAMILY_TARGETS[backbone_config.name == "tiny_mixer"]
    save_peft(Folder(tmp_path), model.layout, values, lora, targets)
    with torch.inference_mode():
        loaded = on_plain_model(backbone_config)
        torch.testing.assert_close(model.eval().logits(images, range(4)), loaded(images), rtol=1e-4, atol=1e-5)
    ranks = {name: len(value) for name, value in loaded.named_parameters() if "lora_A" in name}
    assert sorted(ranks.values()) == [2, 2, 3, 3, 5, 5, 5, 5]
    assert all(rank == {"0": 2, "1": 3}.get(name.split(".")[3], 5) for name, rank in ranks.items())
    assert read_peft(Folder(tmp_path), model.layout).tobytes() == values.tobytes()


def test_an_adapter_with_all_ranks_names_none(tmp_path: Path) -> None:
    save_peft(Folder(tmp_path), LAYOUT, VALUES, LORA, ["fc"])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({}, {})


def test_saved_patch_embedding_loads_into_the_plain_timm_model(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Callable[..., np.ndarray],
    on_plain_model: Callable[[BackboneConfig], torch.nn.Module],
    images: torch.Tensor,
    tmp_path: Path,
) -> None:
    lora = replace(LORA, patch_embedding=True)
    model = make_model(vit_config, lora=lora)
    values = random_values(model.layout)
    save_peft(Folder(tmp_path), model.layout, values, lora, FAMILY_TARGETS[0])
    model.load(values, range(len(model.layout.entries)))
    with torch.inference_mode():
        loaded = on_plain_model(vit_config)
        torch.testing.assert_close(model.eval().logits(images, range(4)), loaded(images), rtol=1e-4, atol=1e-5)
    assert any("patch_embed.proj.lora_A" in name for name, _ in loaded.named_parameters())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
