import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import ray
from support import ray_workers

from fedra_ray.blueprint import Blueprint
from fedra_ray.client.host import ClientHost
from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.federation.messages import ClientReport, ClientTask
from fedra_ray.federation.partial_round import PartialRound, gather
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.state import ServerState
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.fedbrick import BRICKS
from fedra_ray.preflight import check_experiment
from fedra_ray.runtime.connection import nodes
from fedra_ray.runtime.placement import SlotSpec
from fedra_ray.runtime.pool import SlotPool

pytestmark = pytest.mark.usefixtures("local_ray")

WHOLE = SlotSpec(tier=4, num_cpus=1.0, num_gpus=0.0)
SLOW = ("hang", "memory")
TASKS = [ClientTask(1, client, layers, ("head",)) for client, layers in enumerate([(0, 1, 2, 3), (1, 3), (2,)])]


def start(config: ExperimentConfig, specs: list[SlotSpec]) -> tuple[Blueprint, SlotPool]:
    blueprint, weights = check_experiment(config)
    return blueprint, SlotPool(blueprint, ray.put(weights), lambda: specs)


def gathered(parts: Iterable[PartialRound], blueprint: Blueprint) -> PartialRound:
    return gather(parts, MaskedSums(blueprint.layout), "drop", 3)


def by_client(total: PartialRound) -> dict[int, ClientReport]:
    return {report.task.client: report for report in total.reports}


def bits(total: PartialRound, values: np.ndarray) -> bytes:
    return total.total.total().mean(values).tobytes()


@pytest.fixture(scope="module")
def alone(
    make_config: Callable[[Path], ExperimentConfig], tmp_path_factory: pytest.TempPathFactory, local_ray: None
) -> tuple[Blueprint, SlotPool]:
    """A pool of one actor, for tests that leave it as it is."""
    return start(make_config(tmp_path_factory.mktemp("alone")), [WHOLE])


@pytest.fixture
def faulty(config: ExperimentConfig, tmp_path: Path) -> ExperimentConfig:
    options = {"how": "kill", "marker": str(tmp_path / "killed")}
    config.method = MethodConfig("faulty", target="fedra_ray.testing.faulty.Faulty", options=options)
    return config


def test_updates_hold_what_was_allocated_and_are_the_same_from_any_number_of_actors(
    config: ExperimentConfig, alone: tuple[Blueprint, SlotPool]
) -> None:
    blueprint, single = alone
    _, both = start(config, [WHOLE, WHOLE])
    values = blueprint.layout.initial(0)
    one, two = (gathered(pool.train(TASKS, ServerState(values), {}), blueprint) for pool in (single, both))
    for task in TASKS:
        expected = blueprint.layout.pack(values, blueprint.layout.held(task.layers, task.sent))
        told = Traffic(expected.nbytes, expected.nbytes)
        assert by_client(one)[task.client].traffic == by_client(two)[task.client].traffic == told
    assert one.total.groups[0].weights.tolist() == two.total.groups[0].weights.tolist() == [1, 2, 2, 2, 3]
    assert bits(one, values) == bits(two, values) != values.tobytes()
    scores = single.evaluate(values)()
    assert scores == both.evaluate(values)()
    assert [score.domain for score in scores] == ["dark", "light", "noisy"]


def test_evaluation_and_the_next_training_share_the_actors(alone: tuple[Blueprint, SlotPool]) -> None:
    blueprint, pool = alone
    values = blueprint.layout.initial(0)
    expected = pool.evaluate(values)()
    trained = bits(gathered(pool.train(TASKS, ServerState(values), {}), blueprint), values)
    scores, parts = pool.evaluate(values), pool.train(TASKS, ServerState(values), {})
    assert bits(gathered(parts, blueprint), values) == trained
    assert scores() == expected
    parts, scores = pool.train(TASKS, ServerState(values), {}), pool.evaluate(values)
    assert scores() == expected
    assert bits(gathered(parts, blueprint), values) == trained


def test_server_tasks_have_the_same_results_on_two_actors_as_in_this_process(config: ExperimentConfig) -> None:
    options = {"distill_lr": 0.01}
    config.method = MethodConfig("fedbrick", target="fedra_ray.methods.fedbrick.FedBrick", options=options)
    blueprint, pool = start(config, [WHOLE, WHOLE])
    method = blueprint.method()
    state = method.init_state(blueprint.layout, 0)
    sent, tasks = ServerState(state.values, method.broadcast(state)), method.server_tasks(state, 1)
    here = ClientHost(*check_experiment(config)).compute(tasks, sent)
    there = pool.compute(tasks, sent)
    assert [result[BRICKS].tobytes() for result in there] == [result[BRICKS].tobytes() for result in here]
    assert len({result[BRICKS].tobytes() for result in there}) == len(tasks) == 3


@pytest.mark.parametrize("how", ["kill", "raise", *(pytest.param(how, marks=pytest.mark.heavy) for how in SLOW)])
def test_a_client_that_fails_once_is_trained_again_with_the_same_result(how: str, faulty: ExperimentConfig) -> None:
    faulty.method.options["how"] = how
    faulty.runtime.task_timeout = 12.0 if how == "hang" else None
    blueprint, pool = start(faulty, [WHOLE])
    values = blueprint.layout.initial(0)
    disturbed = gathered(pool.train(TASKS, ServerState(values), {}), blueprint)
    assert Path(faulty.method.options["marker"]).exists()
    assert by_client(disturbed)[1].attempt == 2
    assert bits(disturbed, values) == bits(gathered(pool.train(TASKS, ServerState(values), {}), blueprint), values)


@pytest.mark.heavy
def test_an_actor_killed_between_calls_is_replaced(config: ExperimentConfig) -> None:
    others = set(ray_workers("ClientSlot"))
    blueprint, pool = start(config, [WHOLE])
    values = blueprint.layout.initial(0)
    before = pool.evaluate(values)()
    (first,) = set(ray_workers("ClientSlot")) - others
    first.kill()
    assert pool.evaluate(values)() == before
    (second,) = set(ray_workers("ClientSlot")) - others - {first}
    second.kill()
    assert len(by_client(gathered(pool.train(TASKS, ServerState(values), {}), blueprint))) == 3


def test_an_actor_killed_while_it_evaluates_is_replaced_with_the_same_scores(
    config: ExperimentConfig, alone: tuple[Blueprint, SlotPool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    marker = tmp_path / "killed"
    config.dataset.target, config.dataset.options = "fatal.Fatal", {"marker": str(marker)}
    blueprint, pool = start(config, [WHOLE])
    values = blueprint.layout.initial(0)
    assert pool.evaluate(values)() == alone[1].evaluate(values)()
    assert marker.exists()


def test_a_client_that_always_kills_its_actor_is_answered_by_its_failure_and_harms_no_other(
    faulty: ExperimentConfig,
) -> None:
    faulty.method.options = {"how": "kill"}
    faulty.runtime.max_attempts = 2
    blueprint, pool = start(faulty, [WHOLE])
    total = gathered(pool.train(TASKS, ServerState(blueprint.layout.initial(0)), {}), blueprint)
    (failure,) = total.failures
    assert failure.task.client == 1
    assert "died unexpectedly" in failure.error
    assert by_client(total).keys() == {0, 2}


def test_fractions_of_a_gpu_are_reserved_and_small_tiers_take_only_small_clients(config: ExperimentConfig) -> None:
    specs = [SlotSpec(4, 0.5, 1.0), SlotSpec(2, 0.5, 0.5), SlotSpec(1, 0.5, 0.25)]
    blueprint, pool = start(config, specs)
    while ray.available_resources()["GPU"] > 2 - 1.75 + 1e-6:  # until all have started
        time.sleep(0.05)
    updates = by_client(gathered(pool.train(TASKS, ServerState(blueprint.layout.initial(0)), {}), blueprint))
    assert ray.available_resources()["GPU"] == pytest.approx(2 - 1.75)
    assert updates[0].slot == 0
    assert updates[1].slot in (0, 1)
    assert len(updates) == 3


def test_actors_without_room_or_a_node_of_their_label_hold_up_nobody(config: ExperimentConfig) -> None:
    specs = [SlotSpec(4, 1.0, 0.0, "small"), SlotSpec(4, 64.0, 0.0), SlotSpec(4, 1.0, 0.0, "large")]
    blueprint, pool = start(config, specs)
    updates = by_client(gathered(pool.train(TASKS, ServerState(blueprint.layout.initial(0)), {}), blueprint))
    assert {update.slot for update in updates.values()} == {2}
    assert [node.label for node in nodes()] == ["large"]


def test_slots_follow_the_plan_while_work_goes_on(config: ExperimentConfig) -> None:
    wanted = [WHOLE]
    blueprint, pool = start(config, wanted)
    values = blueprint.layout.initial(0)
    expected = bits(gathered(pool.train(TASKS, ServerState(values), {}), blueprint), values)
    wanted.append(WHOLE)
    seen = set()
    while seen != {0, 1}:
        found = gathered(pool.train(TASKS, ServerState(values), {}), blueprint)
        assert bits(found, values) == expected
        seen = {report.slot for report in found.reports}
    wanted.pop()
    assert len(by_client(gathered(pool.train(TASKS, ServerState(values), {}), blueprint))) == 3
    assert pool.size == 1


def test_the_frozen_weights_are_mapped_not_copied(alone: tuple[Blueprint, SlotPool]) -> None:
    _, pool = alone
    writeable = ray.get(pool._slots[0].actor.__ray_call__.remote(owns_memory))
    assert writeable == {"norm.weight": False}


def owns_memory(slot: object) -> dict[str, bool]:
    """Whether the actor could write to the memory behind a frozen weight: not if the object store owns it."""
    weight = slot._host._trained.backbone.norm.weight  # type: ignore[attr-defined]
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            bounds, rights = line.split()[:2]
            low, high = (int(bound, 16) for bound in bounds.split("-"))
            if low <= weight.data_ptr() < high:
                return {"norm.weight": "plasma" not in line and "w" in rights and "s" not in rights}
    raise AssertionError("the weight lies nowhere")
