"""The linear law against direct measurements of whole training steps, and against a process's memory."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cost_by_hand import BY_HAND
from hypothesis import given
from hypothesis import strategies as st
from support import local_round
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig, LoraConfig, TrainingConfig
from fedra_ray.cost.law import Part, Passed, depths_for_memory
from fedra_ray.cost.measure import measure
from fedra_ray.methods.brick import Brick
from fedra_ray.methods.depthfl import DepthFL
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.frozen_blocks import FrozenBlocks
from fedra_ray.methods.headonly import HeadOnly
from fedra_ray.methods.method import Method, Problem
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.model.submodel import Batch, SubModel

Make = Callable[..., SubModel]
DROPOUT = LoraConfig(rank=2, alpha=3.0, dropout=0.1)

#: Values a block trains, a head of 100 classes, and FLOPs of a block's forward pass, of the paper's two backbones.
VIT_BLOCK = 2 * 197 * (12 * 768**2 + 2 * 197 * 768 + 8 * (768 + 768) + 8 * (3072 + 768))
MIXER_BLOCK = 2 * (2 * 768 * 384 * 196 + 768 * 8 * (384 + 196)) + 2 * 196 * (2 * 768 * 3072 + 8 * (3072 + 768))
PAPER = {
    "vit": ("vit_base_patch16_224", {"depth": 2}, 43_008, VIT_BLOCK),
    "mixer": ("timm.models.MlpMixer", {"patch_size": 16, "embed_dim": 768, "num_blocks": 2}, 35_360, MIXER_BLOCK),
}


def train(model: SubModel, method: Method, layers: Sequence[int], batch: int) -> torch.Tensor:
    """Loss of a client's batch, with exactly the client's segments trained."""
    model.load(model.layout.initial(1), model.layout.held(layers, method.named(layers)))
    model.train()
    images = torch.rand(batch, 3, 16, 16)
    local = local_round(model.layout, model.layout.initial(1), layers)
    frozen = tuple(block for block in method.blocks(layers) if block not in layers)
    local.task = replace(local.task, frozen=frozen)
    return method.loss(model, Batch(images, torch.zeros(batch, dtype=torch.long)), local)


def kept(model: SubModel, method: Method, layers: Sequence[int], batch: int) -> int:
    """Bytes of everything but the model that the loss's backward pass will need."""
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = train(model, method, layers, batch)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    total = sum(storage.nbytes() for address, storage in storages.items() if address not in own)
    loss.backward()
    return total


@pytest.mark.parametrize("family", PAPER)
def test_the_papers_backbones_cost_what_their_shapes_say(family: str) -> None:
    name, arguments, parameters, flops = PAPER[family]
    backbone = build(BackboneConfig(model=name, model_args=arguments))
    model = SubModel(backbone, find_targets(backbone, None), LoraConfig(), ["head"], 100, fused=False)
    cost = measure(model, 224, ExperimentConfig())
    assert cost.parameters(1) == parameters + 76_900
    assert cost.parameters(12) == 12 * parameters + 76_900
    assert cost.evaluation_flops(12) - cost.evaluation_flops(11) == flops
    assert cost.memory(2, 1) - cost.memory(1, 1) > 4 * sum(value.numel() for value in backbone.blocks[1].parameters())


METHODS = {
    "fedra": (FedRA(Problem(4, (3, 1))), (0, 1, 3), {"depth": 3}),
    "one block": (FedRA(Problem(4, (3, 1))), (2,), {"depth": 1}),
    "depthfl": (DepthFL(Problem(4, (4, 2, 1))), (0, 1, 2, 3), {"depth": 4, "heads": 3}),
    "headonly": (HeadOnly(Problem(4, (4,))), (), {"depth": 0, "passed": Passed(before=4)}),
    "frozen suffix": (FrozenBlocks(FedRA(Problem(4, (2,)))), (2, 3), {"depth": 2, "passed": Passed(before=2)}),
    "frozen": (FrozenBlocks(FedRA(Problem(4, (2,)))), (1, 3), {"depth": 2, "passed": Passed(before=1, behind=1)}),
}


@pytest.mark.parametrize("case", METHODS)
def test_arithmetic_is_that_of_a_real_step(case: str, backbone_config: BackboneConfig, make_model: Make) -> None:
    method, layers, arguments = METHODS[case]
    model = make_model(backbone_config, method.head_names, DROPOUT, fused=False)
    cost = measure(model, 16, ExperimentConfig())
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        train(model, method, layers, 5).backward()
    assert counter.get_total_flops() == 5 * cost.step_flops(**arguments)


@pytest.mark.parametrize("layers", [(0, 2), (0, 1, 2, 3)])
def test_evaluation_arithmetic_is_that_of_a_forward_pass(
    layers: tuple[int, ...], backbone_config: BackboneConfig, make_model: Make
) -> None:
    model = make_model(backbone_config, fused=False)
    cost = measure(model, 16, ExperimentConfig())
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
        model.logits(torch.rand(5, 3, 16, 16), layers)
    assert counter.get_total_flops() == 5 * cost.evaluation_flops(len(layers))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", ["fedra", "one block", "headonly", "frozen suffix", "frozen"])
def test_what_autograd_keeps_is_what_a_real_step_keeps(
    case: str, dtype: torch.dtype, backbone_config: BackboneConfig, make_model: Make
) -> None:
    method, layers, arguments = METHODS[case]
    model = make_model(backbone_config, method.head_names, DROPOUT, fused=False)
    model.backbone.to(dtype)
    part = measure(model, 16, ExperimentConfig()).part(**arguments)
    assert kept(model, method, layers, 7) == 7 * part.saved + part.copies


def test_parameters_are_those_that_travel(backbone_config: BackboneConfig, make_model: Make) -> None:
    method = DepthFL(Problem(4, (4, 2, 1)))
    model = make_model(backbone_config, method.head_names, fused=False)
    cost = measure(model, 16, ExperimentConfig())
    for depth, heads in ((1, 1), (2, 2), (4, 3)):
        held = model.layout.held(range(depth), method.named(range(depth)))
        assert cost.parameters(depth, heads) == model.pack(held).size


def test_frozen_weights_are_those_of_the_model(backbone_config: BackboneConfig, make_model: Make) -> None:
    plain = build(backbone_config)
    weights = sum(value.nbytes for value in [*plain.parameters(), *plain.buffers()])
    cost = measure(make_model(backbone_config, fused=False), 16, ExperimentConfig())
    assert [cost.part(depth, passed=Passed(before=4 - depth)).frozen for depth in range(5)] == [weights] * 5


def test_a_model_of_one_block_has_a_cost(vit_config: BackboneConfig) -> None:
    backbone = build(BackboneConfig(model=vit_config.model, model_args={**vit_config.model_args, "depth": 1}))
    model = SubModel(backbone, find_targets(backbone, None), LoraConfig(rank=2), ["head"], 3)
    cost = measure(model, 16, ExperimentConfig())
    assert cost.num_layers == 1
    assert cost.memory(1, 4) > cost.memory(0, 4)


def test_half_precision_keeps_less_for_each_image(make_model: Make, vit_config: BackboneConfig) -> None:
    model = make_model(vit_config, fused=False)
    full = measure(model, 16, ExperimentConfig())
    model.backbone.bfloat16()
    half = measure(model, 16, ExperimentConfig())
    assert 0.4 < half.block.saved / full.block.saved < 0.7
    assert 0.4 < half.block.frozen / full.block.frozen < 0.6


def test_memory_by_hand() -> None:
    weights = 300_000 + 3 * 1_000_000
    trained = 3 * 4 * (500 + 3 * 1000)
    image = 48 + (50 + 400 + 2 * 900) + 900
    assert BY_HAND.memory(3, 10) == weights + 3 * 7 + trained + 10 * image
    assert (
        BY_HAND.memory(3, 10, heads=2, passed=Passed(before=1))
        == BY_HAND.memory(3, 10) + 1_000_000 + 3 * 4 * 500 + 10 * 60
    )


def test_a_budget_gives_fewer_blocks_where_stand_ins_are_trained_too() -> None:
    stand_in = Part(parameters=50_000, frozen=0, forward=3, step=9, saved=500, copies=0)
    cost = replace(BY_HAND, stand_in=stand_in)
    more = cost.memory(2, 10, passed=Passed(stand_ins=2)) - cost.memory(2, 10)
    assert more == 2 * (4 * 3 * 50_000 + 10 * 500)
    assert cost.step_flops(2, passed=Passed(stand_ins=2)) == cost.step_flops(2) + 2 * 9
    assert cost.parameters(2, passed=Passed(stand_ins=2)) == cost.parameters(2) + 2 * 50_000
    budget = (cost.memory(2, 10) + more) / 1e6
    assert depths_for_memory(cost, [budget], 10, stand_ins=lambda depth: 4 - depth) == [2]
    assert depths_for_memory(cost, [budget - 1e-6], 10, stand_ins=lambda depth: 4 - depth) == [1]


def test_a_stand_in_costs_what_its_matrices_do(make_model: Make, vit_config: BackboneConfig) -> None:
    model = make_model(vit_config, fused=False)
    images = torch.randn(1, 3, 16, 16)
    tokens, width = model.embed(images).tokens.shape[1:]
    stand_in = measure(model, 16, ExperimentConfig(), Brick(width, 8)).stand_in
    product = 2 * tokens * width * 8
    assert (stand_in.forward, stand_in.step) == (4 * product, 3 * 4 * product)  # three products backward and forward
    assert (stand_in.parameters, stand_in.frozen) == (4 * 8 * width, 0)
    assert 2 * 4 * tokens * width <= stand_in.saved <= 6 * 4 * tokens * width  # at least its input and the gate


def test_no_momentum_needs_no_memory(make_model: Make, vit_config: BackboneConfig) -> None:
    model = make_model(vit_config, fused=False)
    without, with_it = (
        measure(model, 16, ExperimentConfig(training=TrainingConfig(momentum=momentum))) for momentum in (0.0, 0.9)
    )
    assert with_it.memory(4, 2) - without.memory(4, 2) == 4 * with_it.parameters(4)


@given(depth=st.integers(0, 3), batch_size=st.integers(1, 512))
def test_memory_grows_with_depth_and_batch(depth: int, batch_size: int) -> None:
    memory = BY_HAND.memory(depth, batch_size)
    assert memory < BY_HAND.memory(depth + 1, batch_size)
    assert memory < BY_HAND.memory(depth, batch_size + 1)


@given(budget=st.floats(0.1, 8), batch_size=st.integers(1, 512))
def test_the_depth_for_a_budget_is_the_largest_that_fits(budget: float, batch_size: int) -> None:
    fitting = [d for d in (1, 2, 3, 4) if BY_HAND.memory(d, batch_size) <= budget * 1e6]
    if fitting:
        assert depths_for_memory(BY_HAND, [budget], batch_size) == [fitting[-1]]
    else:
        with pytest.raises(SettingError, match="not even one block fits"):
            depths_for_memory(BY_HAND, [budget], batch_size)


def test_a_budget_is_met_to_the_byte() -> None:
    exact = BY_HAND.memory(2, 16) / 1e6
    assert depths_for_memory(BY_HAND, [exact, exact - 1e-6, 100], 16) == [2, 1, 4]


def test_a_budget_below_one_block_is_refused_with_the_least_that_works() -> None:
    assert BY_HAND.memory(1, 100) == 1_300_000 + 7 + 18_000 + 139_800
    with pytest.raises(SettingError, match="not even one block fits 1 MB: needs at least 2 MB") as refusal:
        depths_for_memory(BY_HAND, [5, 1], 100)
    assert refusal.value.args[:2] == ("fleet.memory_mb", [5, 1])
    assert depths_for_memory(BY_HAND, [2], 100) == [1]


PEAK = r"""
import re, torch
from pathlib import Path
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig, LoraConfig
from fedra_ray.cost.measure import measure
from fedra_ray.model.submodel import Batch, SubModel

torch.set_num_threads(1)
arguments = {"img_size": 64, "patch_size": 8, "embed_dim": 192, "num_heads": 3, "depth": 6}
backbone = build(BackboneConfig(model="vit_tiny_patch16_224", model_args=arguments))
model = SubModel(backbone, find_targets(backbone, None), LoraConfig(), ["head"], 10, fused=False)
cost = measure(model, 64, ExperimentConfig())
model.load(model.layout.initial(0), model.layout.held(range(6), ["head"]))
optimiser = torch.optim.SGD([value for group in model.trained() for value in group], lr=0.01, momentum=0.9)

def peak(batch_size):
    for _ in range(2):
        optimiser.zero_grad(set_to_none=False)
        model.logits(torch.rand(batch_size, 3, 64, 64), range(6)).square().sum().backward()
        optimiser.step()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

small, large = peak(16), peak(64)
print(large - small, cost.memory(6, 64) - cost.memory(6, 16))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
def test_the_estimate_is_near_the_peak_of_a_real_process() -> None:
    """The allocator is told to give large tensors back to the system, so that the peak is that of live tensors."""
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": root}
    result = subprocess.run([sys.executable, "-c", PEAK], env=environment, capture_output=True, text=True, check=True)
    measured, estimated = map(int, result.stdout.split())
    assert measured > 100e6
    assert 0.9 * measured < estimated < 1.3 * measured


def test_an_adapted_patch_embedding_is_counted(make_model: Callable[..., SubModel], vit_config: BackboneConfig) -> None:
    plain, adapted = (LoraConfig(rank=2, alpha=3.0, patch_embedding=flag) for flag in (False, True))
    first, second = (measure(make_model(vit_config, lora=lora), 16, ExperimentConfig()) for lora in (plain, adapted))
    assert second.parameters(2) - first.parameters(2) == 2 * 3 * 8 * 8 + 16 * 2
    assert second.step_flops(1) > first.step_flops(1)
