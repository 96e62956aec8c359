"""The fast path through chosen blocks does what a plain timm model of those blocks does under PEFT."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.model.lora import LoraLinear
from fedra_ray.model.submodel import SubModel

LORA = LoraConfig(rank=2, alpha=3.0)
PATCH_LORA = LoraConfig(rank=2, alpha=3.0, patch_embedding=True)
CHOICES = [(0,), (3,), (1, 2), (0, 3), (3, 0, 2), (0, 1, 2, 3)]

Make = Callable[..., SubModel]
Values = Callable[..., np.ndarray]
Plain = Callable[..., nn.Module]


def under_peft(plain: nn.Module, tensors: dict[str, np.ndarray], layers: Sequence[int], head: str) -> nn.Module:
    """The plain model of `layers`, adapted by PEFT with our values."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    targets = rf"blocks\.\d+\.({'|'.join(find_targets(plain, None))})"
    if "patch_embed.proj.lora_A" in tensors:
        targets += r"|patch_embed\.proj"
    config = PeftConfig(r=2, lora_alpha=3, target_modules=targets, modules_to_save=["head"])
    model = get_peft_model(plain, config)
    state = {}
    for name, value in tensors.items():
        parts = name.split(".")
        if parts[0] == "blocks" and int(parts[1]) in layers:
            renamed = ".".join(["blocks", str(layers.index(int(parts[1]))), *parts[2:]])
            state[f"base_model.model.{renamed}.default.weight"] = torch.from_numpy(value)
        elif parts[0] == "patch_embed":
            state[f"base_model.model.{name}.default.weight"] = torch.from_numpy(value)
        elif name.startswith(f"heads.{head}."):
            state[f"base_model.model.head.modules_to_save.default.{parts[-1]}"] = torch.from_numpy(value)
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    return model.double().eval()


@pytest.mark.parametrize("layers", CHOICES, ids=str)
def test_values_and_gradients_equal_a_plain_model_of_those_blocks(
    layers: tuple[int, ...],
    backbone_config: BackboneConfig,
    make_model: Make,
    random_values: Values,
    plain_model: Plain,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(backbone_config, lora=LORA)
    values = random_values(model.layout)
    model.load(values, model.layout.held(layers, ["head"]))
    model.double().eval()
    ordered = sorted(layers)
    reference = under_peft(plain_model(backbone_config, ordered), model.layout.tensors(values), ordered, "head")

    logits, expected = model.logits(images.double(), layers), reference(images.double())
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)

    functional.cross_entropy(logits, labels).backward()
    functional.cross_entropy(expected, labels).backward()
    theirs = {name: parameter.grad for name, parameter in reference.named_parameters() if parameter.requires_grad}
    ours = [*model.layout.held(layers, ["head"])]
    assert len(theirs) == sum(len(model.layout.entries[index]) for index in ours)
    for index in ours:
        for entry in model.layout.entries[index]:
            parts = entry.name.split(".")
            if parts[0] == "heads":
                name = f"base_model.model.head.modules_to_save.default.{parts[-1]}"
            else:
                block = str(ordered.index(int(parts[1])))
                name = ".".join(["base_model.model.blocks", block, *parts[2:], "default.weight"])
            assert theirs[name].abs().max() > 0
            torch.testing.assert_close(gradient(model, entry.name), theirs[name], rtol=1e-9, atol=1e-10)


def gradient(model: SubModel, name: str) -> torch.Tensor | None:
    prefix = "" if name.startswith("heads.") else "backbone."
    return dict(model.named_parameters())[prefix + name].grad


@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1, 3, 2)], ids=str)
def test_exits_equal_truncated_models(
    layers: tuple[int, ...],
    backbone_config: BackboneConfig,
    make_model: Make,
    random_values: Values,
    plain_model: Plain,
    images: torch.Tensor,
) -> None:
    model = make_model(backbone_config, ("exit_1", "exit_3"), LORA)
    values = random_values(model.layout)
    model.load(values, range(len(model.layout.entries)))
    scores = model.double().eval().exit_logits(images.double(), layers, [(1, "exit_1"), (3, "exit_3")])
    assert len(scores) == 2
    for depth, score in zip((1, 3), scores, strict=True):
        kept = sorted(layers)[:depth]
        plain = under_peft(plain_model(backbone_config, kept), model.layout.tensors(values), kept, f"exit_{depth}")
        torch.testing.assert_close(score, plain(images.double()), rtol=1e-10, atol=1e-10)


def test_exits_beyond_the_chosen_layers_do_not_exist(
    vit_config: BackboneConfig, make_model: Make, random_values: Values, images: torch.Tensor
) -> None:
    model = make_model(vit_config, ("exit_1", "exit_3"))
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    assert len(model.exit_logits(images, (0, 1), [(1, "exit_1"), (3, "exit_3")])) == 1


def test_exits_keep_the_order_of_their_pairs_and_may_share_a_depth(
    vit_config: BackboneConfig, make_model: Make, random_values: Values, images: torch.Tensor
) -> None:
    model = make_model(vit_config, ("first", "second"))
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    pairs = [(3, "second"), (0, "first"), (3, "first"), (2, "first")]
    found = model.exit_logits(images, (1, 2, 3), pairs)
    expected = [model.logits(images, (1, 2, 3)[:depth], head) for depth, head in pairs]
    for score, other in zip(found, expected, strict=True):
        torch.testing.assert_close(score, other, rtol=1e-4, atol=1e-5)  # the last block runs for one token or for all
    assert not torch.equal(found[0], found[2])


def test_the_patch_embedding_is_adapted_as_peft_adapts_it(
    vit_config: BackboneConfig,
    make_model: Make,
    random_values: Values,
    plain_model: Plain,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(vit_config, lora=PATCH_LORA)
    layout, values = model.layout, random_values(model.layout)
    model.load(values, layout.held([1, 3], ["head", "patch_embedding"]))
    model.double().eval()
    reference = under_peft(plain_model(vit_config, [1, 3]), layout.tensors(values), [1, 3], "head")
    logits, expected = model.logits(images.double(), (1, 3)), reference(images.double())
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    functional.cross_entropy(logits, labels).backward()
    functional.cross_entropy(expected, labels).backward()
    theirs = dict(reference.named_parameters())
    for entry in layout.extras[0]:
        gradient_of_peft = theirs[f"base_model.model.{entry.name}.default.weight"].grad
        assert gradient_of_peft.abs().max() > 0
        torch.testing.assert_close(gradient(model, entry.name), gradient_of_peft, rtol=1e-9, atol=1e-10)


def test_the_patch_embedding_is_a_segment_of_its_own(
    vit_config: BackboneConfig, make_model: Make, random_values: Values, images: torch.Tensor
) -> None:
    model = make_model(vit_config, lora=PATCH_LORA)
    values = random_values(model.layout)
    assert model.layout.extra_names == ("patch_embedding",)
    assert [entry.shape for entry in model.layout.entries[-1]] == [(2, 3, 8, 8), (16, 2, 1, 1)]
    held = model.layout.held([], ["patch_embedding"])
    model.load(values, held)
    assert [len(parameters) for parameters in model.trained()] == [1, 0]
    assert model.embed(images).tokens.requires_grad
    assert model.pack(held).tobytes() == values[-(2 * 3 * 64 + 16 * 2) :].tobytes()
    model.load(values, model.layout.held([0], ["head"]))
    assert not model.embed(images).tokens.requires_grad
    model.logits(images, (0,)).sum().backward()
    assert gradient(model, "patch_embed.proj.lora_A") is None
    assert make_model(vit_config).layout.extra_names == ()


def test_the_papers_patch_embedding_has_the_authors_number_of_parameters() -> None:
    with torch.device("meta"):
        backbone = build(BackboneConfig(model="vit_base_patch16_224"))
        layout = SubModel(backbone, ("attn.proj",), LoraConfig(rank=8, patch_embedding=True), ("head",), 100).layout
    assert sum(entry.size for entry in layout.extras[0]) == 12_288


def test_a_model_without_the_vits_patch_embedding_cannot_adapt_it(
    mixer_config: BackboneConfig, make_model: Make
) -> None:
    with pytest.raises(SettingError, match=r"MlpMixer has no convolution patch_embed.proj") as refusal:
        make_model(mixer_config, lora=PATCH_LORA)
    assert refusal.value.args[:2] == ("lora.patch_embedding", True)


def test_training_moves_only_what_is_held(
    backbone_config: BackboneConfig,
    make_model: Make,
    random_values: Values,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(backbone_config)
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load(random_values(model.layout), model.layout.held([1, 2], ["head"]))
    lora, heads = model.trained()
    functional.cross_entropy(model.logits(images, (1, 2)), labels).backward()
    torch.optim.SGD([*lora, *heads], lr=0.1, weight_decay=0.1).step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    segments = [*model.layout.layers[1:3], *model.layout.heads]
    expected = {entry.name for segment in segments for entry in segment}
    assert {name.removeprefix("backbone.") for name in moved if not name.startswith("_stem.")} == expected
    assert not {name for name in moved if name.startswith("_stem.")}
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.removeprefix("backbone.") for name in with_gradient} == expected


def test_loading_marks_the_held_parameters_as_trained(
    vit_config: BackboneConfig, make_model: Make, random_values: Values
) -> None:
    model = make_model(vit_config)
    model.load(random_values(model.layout), model.layout.held([0, 3], []))
    lora, heads = model.trained()
    assert [parameter.numel() for parameter in lora] == [sum(e.size for e in model.layout.layers[i]) for i in (0, 3)]
    assert heads == []
    model.load(random_values(model.layout), model.layout.held([], ["head"]))
    assert [len(parameters) for parameters in model.trained()] == [0, 1]


def test_loading_forgets_the_gradients_before(
    vit_config: BackboneConfig, make_model: Make, random_values: Values, images: torch.Tensor
) -> None:
    model = make_model(vit_config)
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    model.logits(images, (0, 1)).sum().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())
    model.load(random_values(model.layout), [2])
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) == 4
    assert not any(gradient.any() for gradient in gradients)


def test_loading_takes_every_value_of_the_global_adapter(
    vit_config: BackboneConfig, make_model: Make, random_values: Values, images: torch.Tensor
) -> None:
    """A frozen layer may still be run (the head-only method), so nothing of another client may be left in it."""
    model = make_model(vit_config)
    first, second = random_values(model.layout, 1), random_values(model.layout, 2)
    everything = range(len(model.layout.entries))
    model.load(second, everything)
    expected = model.logits(images, range(4))
    model.load(first, everything)
    model.load(second, model.layout.held([], ["head"]))
    # Less is recorded for gradients than before, and linear layers may take other kernels for it.
    torch.testing.assert_close(model.logits(images, range(4)), expected, rtol=1e-4, atol=1e-5)


def test_pack_returns_what_was_loaded(vit_config: BackboneConfig, make_model: Make, random_values: Values) -> None:
    model = make_model(vit_config)
    values = random_values(model.layout)
    held = model.layout.held([0, 2], ["head"])
    model.load(values, held)
    assert model.pack(held).tobytes() == model.layout.pack(values, held).tobytes()
    assert model.pack(held).flags.c_contiguous


def test_loaded_values_are_copied(vit_config: BackboneConfig, make_model: Make, random_values: Values) -> None:
    model = make_model(vit_config)
    values = random_values(model.layout)
    values.flags.writeable = False
    model.load(values, range(len(model.layout.entries)))
    with torch.no_grad():
        for parameter in model.trained()[0]:
            parameter.add_(1)
    assert values.tobytes() == random_values(model.layout).tobytes()


def test_lora_goes_to_the_targets_and_nowhere_else(backbone_config: BackboneConfig, make_model: Make) -> None:
    model = make_model(backbone_config)
    adapted = {name for name, module in model.backbone.named_modules() if isinstance(module, LoraLinear)}
    family = {"tiny_vit": ("attn.proj", "mlp.fc2"), "tiny_mixer": ("mlp_tokens.fc2", "mlp_channels.fc2")}
    targets = family[backbone_config.name]
    assert adapted == {f"blocks.{index}.{target}" for index in range(4) for target in targets}
    expected = [f"blocks.2.{target}.{factor}" for target in targets for factor in ("lora_A", "lora_B")]
    assert [entry.name for entry in model.layout.layers[2]] == expected


def test_dropout_acts_in_training_alone(
    vit_config: BackboneConfig, make_model: Make, random_values: Values, images: torch.Tensor
) -> None:
    model = make_model(vit_config, lora=LoraConfig(rank=2, alpha=3.0, dropout=0.5))
    without = make_model(vit_config)
    for each in (model, without):
        each.load(random_values(model.layout), range(len(model.layout.entries)))
    assert torch.equal(model.eval().logits(images, (0, 1)), without.eval().logits(images, (0, 1)))
    torch.manual_seed(0)
    assert not torch.equal(model.train().logits(images, (0, 1)), without.train().logits(images, (0, 1)))
