"""Chosen blocks of a language model compute what transformers' own model of these blocks does under PEFT."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import LAYERS, SETTINGS, VOCABULARY, settings, write_model
from torch import Tensor
from torch.nn import functional

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.federation.layout import Layout
from fedra_ray.model.backbone import find_targets, input_size
from fedra_ray.model.stack import Stem, check_stack, check_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.text.families import FAMILIES
from fedra_ray.model.weights import from_weights, in_precision, load_weights

import peft  # isort: skip
import transformers  # isort: skip

LORA = LoraConfig(rank=2, alpha=3.0)
#: Relative distance (2-norm) of gradients. PEFT multiplies by its float32 factors in float32, and we in bfloat16.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.1}
LABELS = torch.tensor([0, 2, 1])


def texts(length: int = 7) -> dict[str, Tensor]:
    """Three texts of 7, 5 and 4 tokens."""
    ids = torch.randint(3, VOCABULARY, (3, length), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(length) < torch.tensor([[7], [5], [4]])).long()
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}


def plain_model(whole: Any, kind: str, layers: Sequence[int]) -> Any:
    """Transformers' own model, built from these blocks alone."""
    model = transformers.AutoModel.from_config(settings(kind, blocks=len(layers)))
    path, state = FAMILIES[kind].blocks, {}
    for name, value in whole.state_dict().items():
        if not name.startswith(f"{path}."):
            state[name] = value
            continue
        number, _, rest = name.removeprefix(f"{path}.").partition(".")
        if int(number) in layers:
            state[f"{path}.{layers.index(int(number))}.{rest}"] = value
    model.load_state_dict(state)
    return model


def under_peft(model: Any, kind: str, layout: Layout, values: np.ndarray, layers: Sequence[int]) -> Any:
    """The plain model of `layers`, adapted by PEFT with our values."""
    names = [target.rpartition(".")[2] for target in FAMILIES[kind].targets]
    options = {"fan_in_fan_out": True} if kind == "gpt2" else {}
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=3, target_modules=names, **options))
    state = {}
    for name, value in layout.tensors(values).items():
        part, number, rest = name.split(".", 2)
        if part == "blocks" and int(number) in layers:
            place = f"{FAMILIES[kind].blocks}.{layers.index(int(number))}.{rest}"
            state[f"base_model.model.{place}.default.weight"] = torch.from_numpy(value)
    assert not adapted.load_state_dict(state, strict=False).unexpected_keys
    return adapted.eval()


def pooled(tokens: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """The features that a head reads, text by text."""
    lengths = mask.sum(1).tolist()
    places = {"first": lambda n: slice(0, 1), "mean": lambda n: slice(0, n), "last": lambda n: slice(n - 1, n)}
    return torch.stack([row[places[pooling](n)].float().mean(0) for row, n in zip(tokens, lengths, strict=True)])


def close(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    assert theirs.norm() > 0
    assert (ours.float() - theirs.float()).norm() <= TOLERANCE[dtype] * theirs.float().norm()


@pytest.mark.parametrize(
    ("kind", "pooling"), [*((kind, None) for kind in SETTINGS), ("bert", "mean"), ("qwen3", "mean")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_any_blocks_compute_what_the_plain_model_of_them_does(
    kind: str, pooling: str | None, dtype: torch.dtype, tmp_path: Path, random_values: Callable[..., np.ndarray]
) -> None:
    whole = write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}", pooling=pooling)
    weights = in_precision(load_weights(config), "bf16" if dtype == torch.bfloat16 else "fp32")
    backbone = from_weights(config, weights.training)
    check_stack(backbone, kind, input_size(backbone))
    targets = find_targets(backbone, None)
    assert targets == FAMILIES[kind].targets
    check_targets(backbone, targets, input_size(backbone))
    layers = [0, 3, 4]
    model = SubModel(backbone, targets, LORA, ("head",), 3)
    values = random_values(model.layout)
    model.load(values, model.layout.held(layers, ["head"]))
    model.train()
    reference = under_peft(plain_model(whole, kind, layers).to(dtype), kind, model.layout, values, layers)

    batch = texts()
    logits = model.logits(batch, layers)
    tokens = reference(**batch).last_hidden_state
    usual = "last" if FAMILIES[kind].causal else "first"
    head = model.heads["head"]
    expected = functional.linear(pooled(tokens, batch["attention_mask"], pooling or usual), head.weight, head.bias)
    close(logits, expected, dtype)
    functional.cross_entropy(logits, LABELS).backward()
    functional.cross_entropy(expected, LABELS).backward()
    theirs = {name: value.grad for name, value in reference.named_parameters() if value.grad is not None}
    assert len(theirs) == 2 * len(layers) * len(targets)
    for position, layer in enumerate(layers):
        for entry in model.layout.layers[layer]:
            rest = entry.name.split(".", 2)[2]
            name = f"base_model.model.{FAMILIES[kind].blocks}.{position}.{rest}.default.weight"
            close(model.backbone.get_parameter(entry.name).grad, theirs[name], dtype)
    assert all(value.grad is None for value in model.blocks[1].parameters())


@pytest.mark.parametrize("kind", SETTINGS)
def test_masks_and_angles_are_made_once_and_no_cache_is_kept(kind: str, tmp_path: Path) -> None:
    write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}")
    backbone = from_weights(config, load_weights(config))
    _, taken = Stem(backbone)(texts())
    assert len(taken) == 5
    for inputs in taken[1:]:
        assert [id(value) for value in inputs.args] == [id(value) for value in taken[0].args]
        assert {name: id(value) for name, value in inputs.kwargs.items()} == {
            name: id(value) for name, value in taken[0].kwargs.items()
        }
    assert taken[0].kwargs.get("past_key_values") is None
    given = [value for value in (*taken[0].args, *taken[0].kwargs.values()) if value is not None]
    assert any(isinstance(value, Tensor) and value.shape[-2:] == (7, 7) for value in given)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_padding_changes_no_score(kind: str, tmp_path: Path, random_values: Callable[..., np.ndarray]) -> None:
    write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}", pooling="mean")
    backbone = from_weights(config, load_weights(config))
    model = SubModel(backbone, find_targets(backbone, None), LORA, ("head",), 3)
    model.load(random_values(model.layout), [])
    model.eval()
    batch = texts()
    short = {name: value[1:2, :5] for name, value in batch.items()}
    torch.testing.assert_close(model.logits(batch, range(5))[1:2], model.logits(short, range(5)), rtol=1e-5, atol=1e-5)


def test_a_language_model_takes_no_images_and_an_image_model_no_texts(
    tmp_path: Path, images: Tensor, vit_config: BackboneConfig, make_model: Callable[..., SubModel]
) -> None:
    write_model(tmp_path, "bert")
    config = BackboneConfig(model=f"hf:{tmp_path}")
    backbone = from_weights(config, load_weights(config))
    model = SubModel(backbone, find_targets(backbone, None), LORA, ("head",), 3)
    with pytest.raises(TypeError, match="takes texts, not images"):
        model.embed(images)
    with pytest.raises(TypeError, match="takes images, not input_ids, attention_mask"):
        make_model(vit_config).embed(texts())


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_linear_layer_of_a_family_can_be_adapted(
    kind: str, tmp_path: Path, random_values: Callable[..., np.ndarray]
) -> None:
    write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}", pooling="mean")
    backbone = from_weights(config, load_weights(config))
    linear = [path for path, module in backbone.blocks[0].named_modules() if isinstance(module, torch.nn.Linear)]
    check_targets(backbone, linear, 0)
    model = SubModel(copy.deepcopy(backbone), linear, LORA, ("head",), 3)
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    model.logits(texts(), range(5)).square().sum().backward()
    assert all(model.backbone.get_parameter(entry.name).grad.any() for entry in model.layout.layers[2])


@pytest.mark.parametrize(
    ("kind", "changes", "allowed"),
    [
        (
            "albert",
            {},
            "of type albert, which repeats one block; its type must be one of bert, deberta-v2, distilbert, ",
        ),
        ("t5", {}, "is a model of type t5, whose first block has the positions of all"),
        (
            "modernbert",
            {},
            "whose blocks see all tokens and a window of them by turns, and whose first block has no norm",
        ),
        ("gemma2", {}, "is a model of type gemma2, whose blocks see all tokens and a window of them by turns"),
        ("mixtral", {}, "is a model of type mixtral"),
        ("deberta-v2", {"conv_kernel_size": 3}, "must be 0 or false: with conv_kernel_size blocks are not exchange"),
        ("bert", {"is_decoder": True}, "must be 0 or false: with is_decoder blocks are not exchangeable"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "with scale_attn_by_inverse_layer_idx"),
        (
            "qwen2",
            {"layer_types": ["full_attention"] * 3 + ["sliding_attention"] * 2, "sliding_window": 4},
            "its attention differs by block: full_attention, sliding_attention",
        ),
    ],
)
def test_a_model_whose_blocks_are_not_alike_is_refused_by_name(
    kind: str, changes: dict[str, Any], allowed: str, tmp_path: Path
) -> None:
    if kind in SETTINGS:
        settings(kind, **changes).save_pretrained(tmp_path)
    else:
        transformers.AutoConfig.for_model(kind).save_pretrained(tmp_path)
    with pytest.raises(SettingError, match=allowed) as refusal:
        load_weights(BackboneConfig(model=f"hf:{tmp_path}"))
    assert refusal.value.args[:2] == ("backbone.model", f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("kind", "task"),
    [("bert", "MaskedLM"), ("roberta", "SequenceClassification"), ("llama", "CausalLM"), ("gpt2", "CausalLM")],
)
def test_weights_of_a_model_with_a_head_are_those_of_its_trunk(kind: str, task: str, tmp_path: Path) -> None:
    """So they lie on the hub: below a prefix, with a head, and without a pooler."""
    whole = getattr(transformers, f"AutoModelFor{task}").from_config(settings(kind))
    whole.save_pretrained(tmp_path)
    config = BackboneConfig(model=f"hf:{tmp_path}")
    backbone = from_weights(config, load_weights(config))
    found = backbone.forward_features(texts())
    torch.testing.assert_close(found, whole.base_model.eval()(**texts()).last_hidden_state)


def test_the_tables_of_families_are_complete() -> None:
    assert SETTINGS.keys() == FAMILIES.keys()
    assert LAYERS.keys() <= FAMILIES.keys()
