"""Frozen layers in eight and four bits compute with the weights that these stand for, and take as little memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from language_models import SETTINGS, VOCABULARY, assert_same, gradient, write_model
from torch import nn

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.federation.storage import frozen_bytes
from fedra_ray.model import quantized
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.model.quantized import QuantizedLinear, quantize
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.weights import from_weights, in_precision, load_weights

#: Largest relative error (2-norm) of normally distributed weights: half a step of 127 at about three deviations, and
#: what QLoRA's code, arXiv 2305.14314, loses.
ERRORS = {"int8": 0.02, "nf4": 0.1}


def layer(kind: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, QuantizedLinear]:
    """A linear layer of 30 inputs and 50 outputs with random weights, and the same quantised."""
    torch.manual_seed(0)
    plain = nn.Linear(30, 50)
    nn.init.normal_(plain.weight)
    stack = nn.ModuleList([nn.Sequential(plain)])
    quantize(stack, kind)
    return plain.to(dtype), stack[0][0].to(dtype)


def texts() -> dict[str, torch.Tensor]:
    """Three texts of 7, 5 and 4 tokens."""
    ids = torch.randint(3, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor([[7], [5], [4]])).long()
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", list(ERRORS))
def test_a_layer_is_that_of_a_weight_close_to_its_own(kind: str, dtype: torch.dtype) -> None:
    plain, small = layer(kind, dtype)
    weight = small.dequantized(dtype)
    assert weight.dtype == dtype
    assert weight.shape == plain.weight.shape
    assert (weight.float() - plain.weight.float()).norm() <= ERRORS[kind] * plain.weight.float().norm()
    inputs = torch.randn(2, 4, 30, dtype=dtype, requires_grad=True)
    outputs = small(inputs)
    assert torch.equal(outputs, nn.functional.linear(inputs, weight, plain.bias))
    gradient = torch.randn_like(outputs)
    outputs.backward(gradient)
    assert torch.equal(inputs.grad, gradient @ weight)


@pytest.mark.parametrize(("kind", "share"), [("int8", 1 / 4 + 1 / 30), ("nf4", 1 / 8 + 1 / 64 + 0.01)])
def test_a_layer_takes_its_bits_and_its_scales(kind: str, share: float) -> None:
    plain, small = layer(kind)
    assert small.weight.nbytes + small.scales.nbytes <= share * plain.weight.nbytes


def test_no_precision_of_a_model_changes_what_the_bits_stand_for() -> None:
    _, small = layer("nf4")
    before = small.dequantized(torch.float32)
    assert torch.equal(small.bfloat16().float().dequantized(torch.float32), before)


@pytest.mark.parametrize("kind", list(SETTINGS))
@pytest.mark.parametrize("bits", list(ERRORS))
def test_a_model_computes_what_it_does_with_the_weights_that_its_bits_stand_for(
    bits: str, kind: str, tmp_path: Path, random_values: Callable[..., np.ndarray]
) -> None:
    write_model(tmp_path, kind)
    config = BackboneConfig(model=f"hf:{tmp_path}", quantization=bits)
    weights = load_weights(config)
    scores, gradients = [], []
    for plain in (False, True):
        backbone = from_weights(config, weights)
        layers = [(block, path, one) for block in backbone.blocks for path, one in block.named_modules()]
        layers = [(block, path, one) for block, path, one in layers if isinstance(one, QuantizedLinear)]
        assert len(layers) >= 4 * len(backbone.blocks)
        for block, path, one in layers if plain else ():
            linear = nn.Linear(one.in_features, one.out_features)
            linear.weight, linear.bias = nn.Parameter(one.dequantized(torch.float32)), one.bias
            block.set_submodule(path, linear.requires_grad_(False))
        model = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=2), ("head",), 3)
        model.load(random_values(model.layout), model.layout.held([1, 4], ["head"]))
        model.train()
        scores.append(model.logits(texts(), [1, 4]))
        gradients.append(gradient(model, scores[-1]))
    assert_same(scores, gradients)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_actors_share_the_bits_and_what_is_not_quantised_is_in_the_precision(precision: str, tmp_path: Path) -> None:
    write_model(tmp_path, "llama")
    config = BackboneConfig(model=f"hf:{tmp_path}", quantization="nf4")
    weights = in_precision(load_weights(config), precision).training
    model = from_weights(config, weights)
    state = model.state_dict()
    assert state.keys() == build(config).state_dict().keys()
    name = next(name for name in state if name.endswith("q_proj.weight"))
    assert state[name].dtype == torch.uint8
    assert state[name].data_ptr() == weights[name].ctypes.data
    assert state["norm.weight"].dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    whole = load_weights(BackboneConfig(model=f"hf:{tmp_path}"))
    count = len(model.blocks)
    assert sum(frozen_bytes(weights, count).blocks) < 0.25 * sum(frozen_bytes(whole, count).blocks)


def test_images_are_refused() -> None:
    with pytest.raises(SettingError, match=r"backbone.quantization.*int8.*for language models"):
        build(BackboneConfig(quantization="int8"))


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'bitsandbytes'")

    monkeypatch.setattr(quantized, "_library", missing)
    write_model(tmp_path, "bert")
    with pytest.raises(SettingError, match=r"backbone.quantization.*nf4.*pip install 'fedra-ray\[quantization\]'"):
        load_weights(BackboneConfig(model=f"hf:{tmp_path}", quantization="nf4"))
