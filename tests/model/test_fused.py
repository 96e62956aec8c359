from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.model.fused import FusedAttention, FusedLinear, FusedMlp, Noise, reads_first_token
from fedra_ray.model.lora import LoraLinear
from fedra_ray.model.submodel import SubModel

VIT = {"img_size": 24, "patch_size": 8, "embed_dim": 48, "num_heads": 3, "depth": 4}
MODELS = {
    "class token": ("vit_tiny_patch16_224", VIT),
    "average": ("vit_tiny_patch16_224", VIT | {"global_pool": "avg"}),
    "layer scale": ("vit_tiny_patch16_224", VIT | {"init_values": 0.5}),
    "no bias": ("vit_tiny_patch16_224", VIT | {"qkv_bias": False, "proj_bias": False}),
    "qk norm": ("vit_tiny_patch16_224", VIT | {"qk_norm": True}),
    "tanh": ("vit_tiny_patch16_224", VIT | {"act_layer": "gelu_tanh"}),
    "mixer": ("timm.models.MlpMixer", {"img_size": 24, "patch_size": 8, "embed_dim": 48, "num_blocks": 4}),
}


def adapted(name: str, fused: bool, lora: LoraConfig, targets: list[str] | None = None) -> SubModel:
    torch.manual_seed(0)
    model, arguments = MODELS[name]
    backbone = build(BackboneConfig(model=model, model_args=arguments))
    return SubModel(backbone, find_targets(backbone, targets), lora, ("head",), 5, fused)


def step(model: SubModel, layers: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, np.ndarray]:
    """Scores and the gradient of every held value, of images and values from fixed seeds."""
    values = np.random.default_rng(1).normal(0, 0.1, model.layout.segments[-1].stop)
    held = model.layout.held(layers, ("head",))
    model.load(values.astype(np.float64 if dtype == torch.float64 else np.float32), held)
    images = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(2)).to(dtype)
    scores = model.logits(images, layers)
    functional.cross_entropy(scores, torch.arange(6) % 5).backward()
    lora, heads = model.trained()
    return scores.detach(), torch.cat([parameter.grad for parameter in (*lora, *heads)]).numpy()


@pytest.mark.parametrize("layers", [(2,), (0, 3), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_scores_and_gradients_are_those_of_the_plain_layers(name: str, layers: tuple[int, ...]) -> None:
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        plain, fused = (adapted(name, flag, LoraConfig()).to(dtype).train() for flag in (False, True))
        (expected, theirs), (scores, ours) = step(plain, layers, dtype), step(fused, layers, dtype)
        assert torch.linalg.norm(scores - expected) <= tolerance * torch.linalg.norm(expected)
        assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs)
        assert np.linalg.norm(theirs) > 0.01


@pytest.mark.parametrize(
    "targets", [["attn.qkv"], ["mlp.fc1"], ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]], ids=str
)
def test_lora_may_be_in_any_layer_of_a_block(targets: list[str]) -> None:
    plain, fused = (adapted("class token", flag, LoraConfig(), targets).double() for flag in (False, True))
    (expected, theirs), (scores, ours) = step(plain, (1, 2), torch.float64), step(fused, (1, 2), torch.float64)
    torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)


def test_bfloat16_is_near_float32() -> None:
    for name in ("class token", "mixer"):
        full, half = (adapted(name, True, LoraConfig()).train() for _ in range(2))
        half.backbone.bfloat16()
        (expected, theirs), (scores, ours) = step(full, (0, 1, 3), torch.float32), step(half, (0, 1, 3), torch.float32)
        assert ours.dtype == np.float32
        assert torch.linalg.norm(scores - expected) < 0.03 * torch.linalg.norm(expected)
        assert 0 < np.linalg.norm(ours - theirs) < 0.05 * np.linalg.norm(theirs)


def test_what_can_be_fused_is() -> None:
    def kinds(name: str) -> set[type[nn.Module]]:
        return {type(module) for module in adapted(name, True, LoraConfig()).modules()}

    assert {FusedAttention, FusedMlp, FusedLinear} <= kinds("class token")
    assert FusedAttention not in kinds("qk norm")
    assert FusedMlp not in kinds("tanh")
    assert {FusedMlp, FusedLinear} <= kinds("mixer")
    assert [reads_first_token(adapted(name, True, LoraConfig()).backbone) for name in MODELS] == [
        True,
        False,
        True,
        True,
        False,
        True,
        False,
    ]


def test_masked_attention_is_refused_rather_than_computed_without_the_mask() -> None:
    block = adapted("class token", True, LoraConfig()).blocks[0]
    with pytest.raises(NotImplementedError, match="attn_mask"):
        block(torch.zeros(1, 10, 48), attn_mask=torch.ones(10, 10))


class Given(Noise):
    """Dropout whose choice is known."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self._kept = kept

    def kept(self, like: Tensor, probability: float) -> Tensor:
        return self._kept


@pytest.mark.parametrize("gelu", [False, True])
def test_dropout_acts_on_the_low_rank_path_alone(gelu: bool, make_linear: Callable[[], LoraLinear]) -> None:
    plain = make_linear()
    kept = torch.rand(3, 4, 6) < 0.5
    fused = FusedLinear(plain, Given(kept)).train()
    inputs = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    active = functional.gelu(inputs) if gelu else inputs
    low = (active * kept / (1 - fused.dropout)) @ plain.lora_A.t() @ plain.lora_B.t()
    expected = plain.base(active) + plain.scaling * low
    found = fused.after_gelu(inputs) if gelu else fused(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)  # float64, added in another order
    weights = torch.randn_like(found)
    leaves = (inputs, plain.lora_A, plain.lora_B)
    theirs, ours = (torch.autograd.grad((each * weights).sum(), leaves) for each in (expected, found))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.fixture
def make_linear() -> Callable[[], LoraLinear]:
    def make() -> LoraLinear:
        linear = LoraLinear(nn.Linear(6, 5).requires_grad_(False), LoraConfig(rank=2, alpha=3.0, dropout=0.25)).double()
        for parameter in (linear.lora_A, linear.lora_B):
            nn.init.normal_(parameter)
        return linear

    return make


@settings(max_examples=30)
@given(st.integers(1, 2**16 - 1), st.integers(0, 2**63 - 1))
def test_dropout_drops_every_value_with_its_probability(level: int, seed: int) -> None:
    noise, probability, count = Noise(), level / 2**16, 200_003
    noise.seed(seed)
    kept = noise.kept(torch.empty(count), probability)
    spread = (count * probability * (1 - probability)) ** 0.5
    assert abs(count - int(kept.sum()) - count * probability) <= 7 * spread + 1


def test_dropout_does_not_link_neighbours_or_calls() -> None:
    noise = Noise()
    noise.seed(5)
    first, second = (noise.kept(torch.empty(400, 1000), 0.5).double() for _ in range(2))
    for one, other in ((first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])):
        assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.01


def test_the_seed_alone_decides_what_is_dropped() -> None:
    def draw(seed: int) -> Tensor:
        noise = Noise()
        noise.seed(seed)
        return noise.kept(torch.empty(50, 7), 0.1)

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_computes_what_the_processor_does(name: str) -> None:
    expected, _ = step(adapted(name, False, LoraConfig()), (0, 2, 3), torch.float32)
    model = adapted(name, True, LoraConfig()).cuda()
    model.load(np.random.default_rng(1).normal(0, 0.1, model.layout.segments[-1].stop).astype(np.float32), range(5))
    images = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(2)).cuda()
    torch.testing.assert_close(model.logits(images, (0, 2, 3)).cpu(), expected, rtol=1e-3, atol=1e-4)
