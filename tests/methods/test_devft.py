"""Representatives of groups of blocks: which there are in which stage, and where their factors go."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import InProcess, finish, restarted

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, MethodConfig, WrapperConfig
from fedra_ray.federation.messages import ClientTask, ClientUpdate, ServerTask
from fedra_ray.federation.state import ServerState
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.devft import ROUNDS, SIMILARITY, DevFT
from fedra_ray.methods.method import Problem
from fedra_ray.preflight import check_experiment

#: Blocks 0 and 2 are alike, and so are 1 and 3.
PAIRS = np.array([[1, 0, 0.9, 0], [0, 1, 0, 0.9], [0.9, 0, 1, 0], [0, 0.9, 0, 1]])


def configured(config: ExperimentConfig, **options: Any) -> ExperimentConfig:
    config.method = MethodConfig("devft", "fedra_ray.methods.devft.DevFT", options=options)
    return config


def state(done: int) -> ServerState:
    return ServerState(np.zeros(1, np.float32), {ROUNDS: np.array(done), SIMILARITY: PAIRS})


def held(method: DevFT, depths: list[int], before: ServerState | None) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in method.allocate(depths, np.random.default_rng(0), before)]


def test_stages_grow_and_nobody_holds_more_than_fits() -> None:
    method = DevFT(Problem(4, (4, 2, 1), rounds=6))
    assert method.stages == [1, 2, 4]
    assert held(method, [4, 2, 1], state(1)) == [[0], [0], [0]]
    assert held(method, [4, 2, 1], state(2)) == [[0, 1], [0, 1], [0]]
    assert held(method, [4, 2, 1], state(5)) == [[0, 1, 2, 3], [0, 1], [0]]
    assert DevFT(Problem(12, (12,))).stages == [3, 6, 12]


def test_a_plan_is_of_the_last_stage_so_that_actors_are_there_for_it() -> None:
    method = DevFT(Problem(4, (4, 2), rounds=6), stages=[1, 4])
    assert held(method, [4, 2], None) == [[0, 1, 2, 3], [0, 2]]


def test_the_similarity_is_computed_once() -> None:
    method = DevFT(Problem(4, (4,)))
    first = ServerState(np.zeros(1, np.float32), {ROUNDS: np.array(0)})
    assert method.server_tasks(first, 1) == [ServerTask(1, 0, 1.0, 0)]
    after = method.take_in(first, [{SIMILARITY: PAIRS}])
    assert method.server_tasks(after, 2) == []
    assert method.broadcast(after)[SIMILARITY] is PAIRS


def test_a_representative_s_factors_are_written_to_its_whole_group(config: ExperimentConfig) -> None:
    layout = check_experiment(configured(config))[0].layout
    method = DevFT(Problem(4, (4, 2), rounds=2), stages=[4])
    before = ServerState(method.init_state(layout, 0).values, state(0).arrays)
    total = method.reduction(layout)
    # client 0 has all blocks, each with its number as values; client 1 the groups {0, 2} and {1, 3} with 10 and 20
    for client, values, weight in ((0, {0: 0, 1: 1, 2: 2, 3: 3}, 1), (1, {0: 10, 1: 20}, 3)):
        task = ClientTask(1, client, tuple(values), ("head",), weight=weight, total_weight=4)
        size = layout.packed_size([0])
        packed = np.concatenate([np.full(size, value) for value in values.values()] + [np.ones(51)])
        total.add(ClientUpdate(task, Traffic(0, 0), 1, 1, 0.0, 0.0, values=packed.astype(np.float32)))
    merged = method.merge(before, total)
    found = [np.unique(merged.values[layout.segments[layer]]).tolist() for layer in range(4)]
    assert found == [[7.5], [15.25], [8.0], [15.75]]
    assert merged.arrays[ROUNDS] == 1


def test_any_order_and_a_restart_give_the_same_bits(config: ExperimentConfig, tmp_path: Path) -> None:
    configured(config, stages=[2, 4])
    config.checkpoint.every = 1
    first = finish(InProcess(config), tmp_path / "first")
    second = finish(InProcess(config, arrival=5), tmp_path / "second")
    resumed = restarted(config, tmp_path / "resumed", failing=5)
    assert first.values.tobytes() == second.values.tobytes() == resumed.values.tobytes()


def test_where_every_client_holds_every_block_it_is_federated_averaging(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.fleet.depths = [4, 4, 4]
    ours = finish(InProcess(configured(config, stages=[4])), tmp_path / "devft")
    config.method = MethodConfig("alllarge", "fedra_ray.methods.alllarge.AllLarge")
    plain = finish(InProcess(config), tmp_path / "alllarge")
    # the class token alone is followed in one of the two; float32
    np.testing.assert_allclose(ours.values, plain.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("option", "value"), [("stages", []), ("stages", [0, 2]), ("stages", [4, 2]), ("stages", [5]), ("beta", -1)]
)
def test_an_option_that_cannot_work_is_refused(option: str, value: object) -> None:
    with pytest.raises(SettingError, match=rf"method\.options\.{option}"):
        DevFT(Problem(4, (2,)), **{option: value})


def test_an_aggregation_that_puts_layers_together_by_holders_is_refused(config: ExperimentConfig) -> None:
    target = "fedra_ray.methods.flexlora.FlexLora"
    configured(config).lora_aggregation = WrapperConfig("flexlora", target=target)
    with pytest.raises(SettingError, match="lora_aggregation"):
        check_experiment(config)
