"""What blocks cost that are in memory one at a time."""

from collections.abc import Callable

import pytest
import torch
from cost_by_hand import BY_HAND
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig, LoraConfig
from fedra_ray.cost.law import Passed, depths_for_memory
from fedra_ray.cost.measure import measure
from fedra_ray.model.submodel import SubModel


def test_streamed_blocks_cost_one_block_and_their_inputs_by_hand() -> None:
    frozen = BY_HAND.memory(1, 10, passed=Passed(before=1, behind=2))
    streamed = BY_HAND.memory(1, 10, passed=Passed(before=1, behind=2, streamed=True))
    assert frozen == BY_HAND.memory(1, 10) + 3 * 1_000_000 + 2 * 7 + 10 * 2 * 800
    assert streamed == BY_HAND.memory(1, 10) + 1_000_000 + 10 * 2 * 40
    assert BY_HAND.step_flops(1, passed=Passed(1, 2)) == BY_HAND.step_flops(1) + 100 + 2 * 200
    assert BY_HAND.step_flops(1, passed=Passed(1, 2, True)) == BY_HAND.step_flops(1) + 100 + 2 * 300


def test_recomputed_blocks_cost_one_block_and_all_inputs_by_hand() -> None:
    whole = BY_HAND.memory(4, 10, passed=Passed(streamed=True, recomputed=True))
    trained = 3 * 4 * (500 + 4 * 1000)
    assert whole == 1_300_000 + 7 + trained + 10 * (48 + 50 + 4 * 40 + 900 + 900)
    assert BY_HAND.step_flops(4, passed=Passed(0, 0, True, True)) == BY_HAND.step_flops(4) + 4 * 100
    some = BY_HAND.memory(2, 10, passed=Passed(1, 1, True, True))
    assert some == whole - 3 * 4 * 2 * 1000 - 10 * 40  # no gradient goes below the first, whose inputs are not kept
    assert BY_HAND.client_memory(2, 10, "recomputed") == some + 10 * 40  # at most, all of the others lie behind it
    assert BY_HAND.memory(0, 10, passed=Passed(before=4, streamed=True, recomputed=True)) == BY_HAND.memory(
        0, 10, passed=Passed(before=4, streamed=True)
    )


def test_recomputed_arithmetic_is_that_of_checkpointed_blocks(
    backbone_config: BackboneConfig, make_model: Callable[..., SubModel]
) -> None:
    model = make_model(backbone_config, ("head",), LoraConfig(rank=2, dropout=0.1), fused=False)
    cost = measure(model, 16, ExperimentConfig())
    model.load(model.layout.initial(1), model.layout.held(range(4), ("head",)))
    model.train()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), set_checkpoint_early_stop(False):
        stream = model.embed(torch.rand(5, 3, 16, 16))
        for block in model.blocks:
            stream = stream._replace(tokens=checkpoint(block, stream.tokens, use_reentrant=False))
        model.heads["head"](model.readout(stream.tokens)).square().sum().backward()
    assert counter.get_total_flops() == 5 * cost.step_flops(4, passed=Passed(0, 0, True, True))


def test_a_budget_gives_fewer_blocks_where_the_others_are_in_memory_too() -> None:
    budget = BY_HAND.memory(2, 10) / 1e6 + 1.05
    assert depths_for_memory(BY_HAND, [budget], 10, "absent") == [3]
    assert depths_for_memory(BY_HAND, [budget], 10, "streamed") == [2]
    with pytest.raises(SettingError, match="not even one block fits"):  # all four are in memory however few are trained
        depths_for_memory(BY_HAND, [budget], 10, "frozen")


def test_layers_that_a_part_of_the_images_trains_cost_that_part_by_hand() -> None:
    half = Passed(partial=3, share=0.5)
    trained = 3 * 4 * (500 + 4 * 1000)
    assert BY_HAND.step_flops(4, passed=half) == 12 + (100 + 125) + 2 * (100 + 150) + 300
    assert BY_HAND.memory(4, 10, passed=half) == 300_000 + 2_000_000 + 7 + trained + 10 * (48 + 50 + 3 * 20 + 900 + 900)
