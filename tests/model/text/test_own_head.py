"""A decoder's own head over any blocks: losses and gradients of transformers' causal model with -100 for prompts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import SETTINGS, VOCABULARY, settings, write_model
from torch.nn import functional

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import find_targets, input_size
from fedra_ray.model.stack import check_stack, check_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.text.families import FAMILIES
from fedra_ray.model.weights import from_weights, in_precision, load_weights

import peft  # isort: skip
import transformers  # isort: skip

CAUSAL = [kind for kind in SETTINGS if FAMILIES[kind].causal]
LORA = LoraConfig(rank=2, alpha=3.0)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.1}
LAYERS_RUN = [0, 3, 4]


def batch() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Three texts of 7, 5 and 4 tokens with answers of 3, 1 and 2; and labels as transformers has them."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (3, 7), generator=generator)
    lengths, begins = torch.tensor([[7], [5], [4]]), torch.tensor([[4], [4], [2]])
    mask = (torch.arange(7) < lengths).long()
    ids = ids.where(mask.bool(), 1)
    follows = torch.arange(1, 8)
    answers = (follows >= begins) & (follows < lengths)
    labels = ids.where((torch.arange(7) >= begins) & mask.bool(), -100)
    return {"input_ids": ids, "attention_mask": mask, "answers": answers}, labels


@pytest.mark.parametrize("kind", CAUSAL)
def test_texts_that_lie_end_to_end_in_a_row_do_not_see_each_other(
    kind: str, tmp_path: Path, random_values: Callable[..., np.ndarray]
) -> None:
    write_model(tmp_path, kind, own_head=True)
    config = BackboneConfig(model=f"hf:{tmp_path}", head="own")
    backbone = from_weights(config, load_weights(config))
    model = SubModel(backbone, find_targets(backbone, None), LORA, ("head",), 3)
    model.load(random_values(model.layout), model.layout.held(LAYERS_RUN, ["head"]))
    model.train()
    inputs, labels = batch()
    first, second, third = (inputs["input_ids"][row, :length] for row, length in enumerate((7, 5, 4)))
    pad = torch.ones(1, dtype=torch.int64)
    ids = torch.stack([torch.cat([first, pad, pad]), torch.cat([third, second])])
    places = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0, 1], [0, 1, 2, 3, 0, 1, 2, 3, 4]])
    answers = torch.zeros_like(ids, dtype=torch.bool)
    answers[0, 3:6], answers[1, 1:3], answers[1, 7] = True, True, True
    rows = {"input_ids": ids, "position_ids": places, "answers": answers}
    found = []
    for given, wanted in ((inputs, labels[labels != -100]), (rows, ids.roll(-1, 1)[answers])):
        model.zero_grad(set_to_none=False)
        loss = functional.cross_entropy(model.logits(given, LAYERS_RUN), wanted)
        loss.backward()
        found.append((loss.detach(), torch.cat(model.gradients).clone()))
    for apart, packed in zip(*found, strict=True):
        close(packed, apart, torch.float32)


def plain(whole: Any, kind: str, layers: list[int], **changes: Any) -> Any:
    """Transformers' own causal model, built from these blocks alone."""
    model = transformers.AutoModelForCausalLM.from_config(settings(kind, blocks=len(layers), **changes))
    path, state = f"{model.base_model_prefix}.{FAMILIES[kind].blocks}.", {}
    for name, value in whole.state_dict().items():
        number, _, rest = name.removeprefix(path).partition(".")
        if not name.startswith(path):
            state[name] = value
        elif int(number) in layers:
            state[f"{path}{layers.index(int(number))}.{rest}"] = value
    model.load_state_dict(state)
    return model


def close(ours: torch.Tensor, theirs: torch.Tensor, dtype: torch.dtype) -> None:
    assert theirs.norm() > 0
    assert (ours.float() - theirs.float()).norm() <= TOLERANCE[dtype] * theirs.float().norm()


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_loss_and_gradients_are_those_of_transformers_and_peft(
    kind: str, tied: bool, dtype: torch.dtype, tmp_path: Path, random_values: Callable[..., np.ndarray]
) -> None:
    whole = write_model(tmp_path, kind, own_head=True, tie_word_embeddings=tied)
    config = BackboneConfig(model=f"hf:{tmp_path}", head="own")
    weights = in_precision(load_weights(config), "bf16" if dtype == torch.bfloat16 else "fp32")
    backbone = from_weights(config, weights.training)
    check_stack(backbone, kind, input_size(backbone))
    targets = find_targets(backbone, None)
    check_targets(backbone, targets, input_size(backbone))
    model = SubModel(backbone, targets, LORA, ("head",), 3)
    values = random_values(model.layout)
    model.load(values, model.layout.held(LAYERS_RUN, ["head"]))
    model.train()

    options = {"fan_in_fan_out": True} if kind == "gpt2" else {}
    names = [target.rpartition(".")[2] for target in targets]
    reference = peft.get_peft_model(
        plain(whole, kind, LAYERS_RUN, tie_word_embeddings=tied).to(dtype),
        peft.LoraConfig(r=2, lora_alpha=3, target_modules=names, **options),
    ).eval()
    place = f"base_model.model.{backbone.block_path}"
    state = {}
    for name, value in model.layout.tensors(values).items():
        _, number, rest = name.split(".", 2)
        if int(number) in LAYERS_RUN:
            position = LAYERS_RUN.index(int(number))
            state[f"{place}.{position}.{rest}.default.weight"] = torch.from_numpy(value)
    assert not reference.load_state_dict(state, strict=False).unexpected_keys

    inputs, labels = batch()
    ours = functional.cross_entropy(model.logits(inputs, LAYERS_RUN), labels[labels != -100])
    theirs = reference(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).loss
    torch.testing.assert_close(ours, theirs.float(), rtol=TOLERANCE[dtype], atol=0)
    ours.backward()
    theirs.backward()
    found = dict(reference.named_parameters())
    for position, layer in enumerate(LAYERS_RUN):
        for entry in model.layout.layers[layer]:
            rest = entry.name.split(".", 2)[2]
            expected = found[f"{place}.{position}.{rest}.default.weight"].grad
            close(model.backbone.get_parameter(entry.name).grad, expected, dtype)


def test_no_head_is_trained_and_no_value_of_one_travels(tmp_path: Path) -> None:
    write_model(tmp_path, "llama", own_head=True)
    config = BackboneConfig(model=f"hf:{tmp_path}", head="own")
    backbone = from_weights(config, load_weights(config))
    model = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=2, head_init="uniform"), ("head",), 3)
    head = model.layout.held((), ("head",))
    assert model.layout.packed_size(head) == 0
    assert model.layout.size == 5 * 2 * 2 * (16 + 16) - 5 * 2 * 8  # one of two heads of keys and values
    assert len(model.layout.initial(0)) == model.layout.size


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_an_encoder_has_no_head_for_what_follows(kind: str, tmp_path: Path) -> None:
    write_model(tmp_path, kind)
    with pytest.raises(SettingError, match=rf"^backbone.head=own: must be trained for hf:.*: a {kind} sees all tokens"):
        load_weights(BackboneConfig(model=f"hf:{tmp_path}", head="own"))
    with pytest.raises(SettingError, match=r"^backbone.head=own: must be trained: only language models have an own"):
        load_weights(BackboneConfig(head="own"))
