"""Families of timm models whose blocks can be chosen freely, and architectures that are refused for lack of that."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import build, find_targets, input_size
from fedra_ray.model.stack import check_stack, check_targets
from fedra_ray.model.submodel import SubModel

LORA = LoraConfig(rank=2, alpha=3.0)
CLASSES = 3

VIT = {"img_size": 32, "embed_dim": 24, "num_heads": 2, "depth": 5}
VIT14 = VIT | {"img_size": 28}
MIXER = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_blocks": 5}
FAMILIES = {
    "vit_tiny": ("vit_tiny_patch16_224", VIT),
    "vit_small": ("vit_small_patch16_224", VIT),
    "vit_base": ("vit_base_patch16_224.augreg2_in21k_ft_in1k", VIT),
    "vit_large": ("vit_large_patch16_224", VIT),
    "vit_hybrid": ("vit_tiny_r_s16_p8_224", VIT),
    "vit_relpos": ("vit_relpos_small_patch16_224", VIT),
    "vit_shared_relpos": ("vit_srelpos_small_patch16_224", VIT),
    "deit": ("deit_tiny_patch16_224", VIT),
    "deit3": ("deit3_small_patch16_224", VIT),
    "dinov2": ("vit_small_patch14_dinov2", VIT14),
    "dinov2_registers": ("vit_small_patch14_reg4_dinov2", VIT14),
    "dinov3": ("vit_small_patch16_dinov3", VIT),
    "beit": ("beit_base_patch16_224", VIT),
    "beit_shared": ("beit_base_patch16_224", VIT | {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}),
    "beitv2": ("beitv2_base_patch16_224", VIT),
    "eva02_tiny": ("eva02_tiny_patch14_224", VIT14),
    "eva02_base": ("eva02_base_patch14_224", VIT14),
    "siglip": ("vit_base_patch16_siglip_224", VIT),
    "siglip_gap": ("vit_base_patch16_siglip_gap_224", VIT),
    "clip": ("vit_base_patch16_clip_224", VIT),
    "clip_quickgelu": ("vit_base_patch16_clip_quickgelu_224", VIT),
    "mixer": ("timm.models.MlpMixer", MIXER),
    "mixer_s": ("mixer_s32_224", {"img_size": 64}),
    "gmixer": ("gmixer_12_224", {"img_size": 32}),
    "resmlp": ("resmlp_12_224", {"img_size": 32}),
    "gmlp": ("gmlp_ti16_224", {"img_size": 32}),
}


def backbone_of(model: str, arguments: dict[str, Any]) -> nn.Module:
    """The family's model, moved away from first values that would make its blocks do nothing."""
    torch.manual_seed(0)
    backbone = build(BackboneConfig(model=model, model_args=arguments))
    for parameter in backbone.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone


def merged(backbone: nn.Module, values: dict[str, np.ndarray], targets: Sequence[str], layers: Sequence[int]) -> Any:
    """Timm's own model of these blocks alone, with a head, in which W + alpha / r B A takes the place of W."""
    model: Any = copy.deepcopy(backbone)
    model.reset_classifier(CLASSES)
    model.double()
    model.head.weight.data = torch.from_numpy(values["heads.head.weight"]).double()
    model.head.bias.data = torch.from_numpy(values["heads.head.bias"]).double()
    for layer in layers:
        for target in targets:
            weight = model.blocks[layer].get_submodule(target).weight
            low, high = (torch.from_numpy(values[f"blocks.{layer}.{target}.lora_{factor}"]).double() for factor in "AB")
            weight.data += LORA.alpha / LORA.rank * high @ low
            weight.requires_grad_()
    chosen = [model.blocks[layer] for layer in layers]
    model.blocks = nn.Sequential(*chosen) if isinstance(model.blocks, nn.Sequential) else nn.ModuleList(chosen)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_any_blocks_of_the_family_make_a_model(family: str, random_values: Callable[..., np.ndarray]) -> None:
    model, arguments = FAMILIES[family]
    backbone = backbone_of(model, arguments)
    size = input_size(backbone)
    check_stack(backbone, model, size)
    plain, targets = copy.deepcopy(backbone), find_targets(backbone, None)
    rng = np.random.default_rng(len(family))
    layers = rng.permutation(len(plain.blocks))[: len(plain.blocks) // 2].tolist()

    adapted = SubModel(backbone, targets, LORA, ("head",), CLASSES)
    values = random_values(adapted.layout)
    adapted.load(values, adapted.layout.held(layers, ["head"]))
    adapted.double().eval()
    ordered = sorted(layers)
    reference = merged(plain, adapted.layout.tensors(values), targets, ordered)
    images = torch.randn(2, 3, size, size, dtype=torch.double)
    logits, expected = adapted.logits(images, layers), reference(images)
    torch.testing.assert_close(logits, expected, rtol=1e-8, atol=1e-8)

    labels = torch.tensor([0, 2])
    functional.cross_entropy(logits, labels).backward()
    functional.cross_entropy(expected, labels).backward()
    found = {name: parameter.grad for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    trained = {f"backbone.{entry.name}" for layer in layers for entry in adapted.layout.layers[layer]}
    assert set(found) == trained | {"heads.head.weight", "heads.head.bias"}
    scaling = LORA.alpha / LORA.rank
    for position, layer in enumerate(ordered):
        for target in targets:
            gradient = reference.blocks[position].get_submodule(target).weight.grad
            linear = adapted.blocks[layer].get_submodule(target)
            assert gradient.abs().max() > 0
            torch.testing.assert_close(linear.lora_A.grad, scaling * linear.lora_B.T @ gradient, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(linear.lora_B.grad, scaling * gradient @ linear.lora_A.T, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("family", ["vit_tiny", "dinov3", "beit", "eva02_tiny"])
def test_training_follows_an_evaluation(family: str, random_values: Callable[..., np.ndarray]) -> None:
    """Nothing that a stem remembers from inference stands in the way of gradients."""
    model, arguments = FAMILIES[family]
    backbone = build(BackboneConfig(model=model, model_args=arguments))
    size = input_size(backbone)
    adapted = SubModel(backbone, find_targets(backbone, None), LORA, ("head",), CLASSES)
    adapted.load(random_values(adapted.layout), range(len(adapted.layout.entries)))
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        adapted.eval().logits(images, (0, 1))
    adapted.train().logits(images, (0, 1)).sum().backward()
    assert all(parameter.grad is not None for parameter in adapted.blocks[1].parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("swin_tiny_patch4_window7_224", {}),
        ("convnext_atto", {}),
        ("test_resnet", {}),
        ("test_efficientnet", {}),
        ("mobilenetv3_small_050", {}),
        ("hiera_tiny_224", {}),
        ("twins_svt_small", {}),
        ("mvitv2_tiny", {}),
        ("cait_xxs24_224", {"img_size": 32, "embed_dim": 24, "num_heads": 2, "depth": 2}),
        ("xcit_nano_12_p16_224", {"img_size": 32, "embed_dim": 16, "num_heads": 2, "depth": 2}),
        ("crossvit_tiny_240", {}),
        ("tnt_s_patch16_224", {"img_size": 32, "depth": 2}),
        ("convit_tiny", {"img_size": 32, "embed_dim": 12, "num_heads": 2, "depth": 3, "local_up_to_layer": 2}),
        ("samvit_base_patch16", VIT),  # a neck in place of the norm
        ("deit_tiny_distilled_patch16_224", VIT),  # a second head, for the distillation token
        ("vit_base_patch16_rope_mixed_224", VIT),  # rotary embeddings that differ by block
    ],
)
def test_an_architecture_without_exchangeable_blocks_is_refused(model: str, arguments: dict[str, Any]) -> None:
    def accept() -> None:
        backbone = build(BackboneConfig(model=model, model_args=arguments))
        check_stack(backbone, model, input_size(backbone))

    with pytest.raises(SettingError, match=r"must (have|be) a (stack|stem|patch embedding)") as refusal:
        accept()
    assert refusal.value.args[:2] == ("backbone.model", model)


@pytest.mark.parametrize(
    ("model", "per_block"),
    [("vit_base_patch16_224.augreg2_in21k_ft_in1k", 43_008), ("mixer_b16_224.goog_in21k_ft_in1k", 35_360)],
)
def test_the_papers_backbones_have_the_papers_numbers_of_parameters(model: str, per_block: int) -> None:
    with torch.device("meta"):
        backbone = build(BackboneConfig(model=model))
        layout = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=8), ("head",), 100).layout
    assert input_size(backbone) == 224
    assert [sum(entry.size for entry in layer) for layer in layout.layers] == [per_block] * 12
    assert [sum(entry.size for entry in head) for head in layout.heads] == [76_900]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_layers_can_be_adapted_but_those_that_the_model_bypasses(
    family: str, random_values: Callable[..., np.ndarray]
) -> None:
    model, arguments = FAMILIES[family]
    backbone = backbone_of(model, arguments)
    size = input_size(backbone)
    linear = [path for path, module in backbone.blocks[0].named_modules() if isinstance(module, nn.Linear)]
    if family in ("beit", "beit_shared", "beitv2", "eva02_tiny"):
        with pytest.raises(SettingError, match=r"the weight of attn.qkv without calling the layer.* among attn.proj, "):
            check_targets(backbone, linear, size)
        linear.remove("attn.qkv")
    check_targets(backbone, linear, size)

    adapted = SubModel(backbone, linear, LORA, ("head",), CLASSES)
    adapted.load(random_values(adapted.layout), range(len(adapted.layout.entries)))
    for parameter in adapted.parameters():
        parameter.grad = None
    adapted.train().logits(torch.randn(2, 3, size, size), range(len(adapted.blocks))).square().sum().backward()
    for block in adapted.blocks:
        assert [path for path in linear if block.get_submodule(path).lora_A.grad is None] == []
