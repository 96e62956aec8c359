# Long: one pool, whose starts, losses, hangs and changes of the cluster are each played through.
"""The pool of client actors over a fake Ray: every transition that real actors make rarely, late, or never."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from fake_ray import HANG, FakeActor, FakeRay, FakeReference
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.config.schema import ExperimentConfig, RuntimeConfig
from fedra_ray.federation.messages import ClientReport, ClientTask, Score
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.traffic import Traffic
from fedra_ray.runtime import pool as pool_module
from fedra_ray.runtime.placement import SlotSpec
from fedra_ray.runtime.pool import SlotPool
from fedra_ray.runtime.waiting import Stall
from fedra_ray.testing.workers import small_blueprint

WHOLE = SlotSpec(tier=4, num_cpus=1.0, num_gpus=0.0)
SMALL = SlotSpec(tier=1, num_cpus=1.0, num_gpus=0.0)
TASKS = [ClientTask(1, client, tuple(range(depth)), ("head",)) for client, depth in enumerate([4, 2, 1, 1, 3, 2, 1, 4])]
VALUES = object()

Plan = Callable[[], list[SlotSpec]]


def answer(reference: FakeReference) -> PartialRound | Score:
    """What a sound actor answers."""
    assert reference.actor is not None
    if reference.name == "evaluate":
        shard = reference.arguments[0]
        return Score(shard.domain, "test", shard.stop - shard.start, top1=1, top5=1, loss=0.5)
    partial = PartialRound()
    for task, attempt in reference.arguments[0]:
        report = ClientReport(task, Traffic(0, 0), 1, 1, 0.5, 0.1, slot=reference.actor.number, attempt=attempt)
        partial.reports.append(report)
    return partial


def trains(reference: FakeReference, client: int) -> bool:
    return reference.name == "train" and client in {task.client for task, _ in reference.arguments[0]}


@pytest.fixture
def blueprint(config: ExperimentConfig) -> Blueprint:
    config.runtime = RuntimeConfig(max_attempts=3)
    return small_blueprint(config, 4)


@pytest.fixture
def pooled(blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeRay, Plan], SlotPool]:
    """pooled(ray, plan): a pool over this fake Ray."""

    def make(ray: FakeRay, plan: Plan) -> SlotPool:
        monkeypatch.setattr(pool_module, "ray", ray)
        monkeypatch.setattr(pool_module, "time", ray)
        return SlotPool(blueprint, ray.put({}), plan)

    return make


Pooled = Callable[[FakeRay, Plan], SlotPool]


def reports(parts: Iterable[PartialRound]) -> dict[int, ClientReport]:
    """The report of every client, each of which must have one."""
    listed = [report for part in parts for report in part.reports]
    assert sorted(report.task.client for report in listed) == [task.client for task in TASKS]
    return {report.task.client: report for report in listed}


def test_actors_are_started_with_what_their_slots_reserve(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    labelled = SlotSpec(4, 2.0, 0.5, "large")
    pool = pooled(ray, lambda: [WHOLE, labelled])
    options = {actor.number: actor.options for actor in ray.actors}
    assert pool.size == 2
    assert options[0] == {"num_cpus": 1.0, "num_gpus": 0.0, "max_restarts": 0}
    selector = {"label_selector": {"tier": "large"}}
    assert options[1] == {"num_cpus": 2.0, "num_gpus": 0.5, "max_restarts": 0, **selector}


def test_an_actor_gets_work_once_it_has_started_and_only_what_fits_its_tier(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    ray.starts = lambda actor: HANG if actor.number == 1 else None  # no room for it
    pool = pooled(ray, lambda: [WHOLE, WHOLE, SMALL])
    trained = reports(pool.train(TASKS, VALUES, {}))
    assert {report.slot for report in trained.values()} == {0, 2}
    assert all(len(report.task.layers) == 1 for report in trained.values() if report.slot == 2)


def test_what_actors_say_when_they_start_is_kept_once(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    ray.starts = lambda actor: "on the CPU" if actor.number < 2 else None
    pool = pooled(ray, lambda: [WHOLE, WHOLE, SMALL])
    reports(pool.train(TASKS, VALUES, {}))
    assert pool.notices() == ["on the CPU"]


@pytest.mark.parametrize("ending", [ActorDiedError(), NodeDiedError("its node has died")])
def test_an_actor_that_dies_in_training_is_replaced_in_its_slot(pooled: Pooled, ending: Exception) -> None:
    ended = iter([ending])
    ray = FakeRay(
        lambda reference: next(ended, None) or answer(reference) if trains(reference, 2) else answer(reference)
    )
    pool = pooled(ray, lambda: [WHOLE])
    trained = reports(pool.train(TASKS, VALUES, {}))
    assert trained[2].attempt == 2
    assert [actor.number for actor in ray.actors] == [0, 0]
    assert len(ray.alive) == pool.size == 1


def test_a_client_whose_actor_always_dies_is_a_failure_and_no_other_is(pooled: Pooled) -> None:
    ray = FakeRay(lambda reference: ActorDiedError() if trains(reference, 2) else answer(reference))
    parts = list(pooled(ray, lambda: [WHOLE]).train(TASKS, VALUES, {}))
    assert [failure.task.client for part in parts for failure in part.failures] == [2]
    assert sorted(report.task.client for part in parts for report in part.reports) == [0, 1, 3, 4, 5, 6, 7]
    assert len(ray.actors) == 1 + 3


def test_a_call_that_hangs_is_ended_by_killing_its_actor(pooled: Pooled, blueprint: Blueprint) -> None:
    blueprint.config.runtime.task_timeout = 30.0
    ray = FakeRay(lambda reference: HANG if trains(reference, 2) and ray.actors[0].alive else answer(reference))
    pool = pooled(ray, lambda: [WHOLE])
    trained = reports(pool.train(TASKS, VALUES, {}))
    assert trained[2].attempt == 2
    assert 30.0 <= ray.now < 32.0
    assert not ray.actors[0].alive


def test_an_actor_that_cannot_start_is_given_up_after_so_many_attempts(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    ray.starts = lambda actor: ActorDiedError()
    pool = pooled(ray, lambda: [WHOLE])
    with pytest.raises(ActorDiedError):
        list(pool.train(TASKS, VALUES, {}))
    assert len(ray.actors) == 3


def test_a_node_that_goes_while_actors_start_does_not_count_as_their_failure(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    ray.starts = lambda actor: NodeDiedError("its node has died") if len(ray.actors) < 9 else None
    pool = pooled(ray, lambda: [WHOLE])
    reports(pool.train(TASKS, VALUES, {}))
    assert len(ray.actors) == 9


def test_work_that_no_actor_may_take_ends_the_run(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    pool = pooled(ray, lambda: [SMALL])
    with pytest.raises(RunFailedError, match="work that no client actor may take"):
        list(pool.train(TASKS, VALUES, {}))


def test_an_error_that_no_attempt_mends_ends_the_run(pooled: Pooled) -> None:
    cause = RunFailedError("the data set is gone")
    ray = FakeRay(lambda reference: RayTaskError("train", "", cause))
    with pytest.raises(RunFailedError, match="the data set is gone"):
        list(pooled(ray, lambda: [WHOLE]).train(TASKS, VALUES, {}))


def test_slots_follow_the_plan_and_the_surplus_is_let_go(pooled: Pooled) -> None:
    plan = [WHOLE]
    ray = FakeRay(answer)
    pool = pooled(ray, lambda: plan)
    reports(pool.train(TASKS, VALUES, {}))
    plan[:] = [WHOLE, WHOLE, SMALL]
    reports(pool.train(TASKS, VALUES, {}))
    assert [actor.number for actor in ray.alive] == [0, 1, 2]
    plan[:] = [WHOLE, SMALL]
    reports(pool.train(TASKS, VALUES, {}))
    assert pool.size == len(ray.alive) == 2
    assert ray.alive[-1].number == 2  # the small one stays: a slot of its kind is still wanted


def test_slots_are_added_while_work_goes_on_without_an_end(pooled: Pooled) -> None:
    plan = [WHOLE]
    ray = FakeRay(lambda reference: HANG if len(ray.actors) == 1 else answer(reference))

    def grow() -> list[SlotSpec]:
        if ray.now > 3:
            plan[:] = [WHOLE, WHOLE]
        return plan

    reports(pooled(ray, grow).train(TASKS, VALUES, {}))
    assert [actor.number for actor in ray.actors] == [0, 1]


def test_a_cluster_that_lost_its_gpus_keeps_the_slots_that_it_had(pooled: Pooled) -> None:
    refused = False

    def plan() -> list[SlotSpec]:
        if refused:
            raise SettingError("runtime.num_gpus", 1.0, "the cluster has 0 GPUs for client actors")
        return [WHOLE, WHOLE]

    pool = pooled(FakeRay(answer), plan)
    refused = True
    reports(pool.train(TASKS, VALUES, {}))
    assert pool.size == 2


def test_a_pool_says_what_it_waits_for_while_none_of_its_actors_works(pooled: Pooled) -> None:
    stalls = []

    def starts(actor: FakeActor) -> object:
        stalls.append((ray.now, pool.stall()))
        return HANG if ray.now < 100 else None

    ray = FakeRay(answer)
    pool = pooled(ray, lambda: [WHOLE, WHOLE])
    ray.starts = starts
    assert pool.stall() is None  # there is no work
    reports(pool.train(TASKS, VALUES, {}))
    assert stalls[-1] == (100, Stall(100, "client actors, 2 with 1 CPUs and 0 GPUs"))
    assert pool.stall() is None


def test_a_small_actor_without_work_does_not_hide_that_a_large_one_has_no_room(pooled: Pooled) -> None:
    def starts(actor: FakeActor) -> object:
        if actor.number == 1 or ray.now > 50:
            return None
        stalls.append(pool.stall())
        return HANG

    stalls: list[Stall | None] = []
    ray = FakeRay(answer)
    pool = pooled(ray, lambda: [WHOLE, SMALL])
    ray.starts = starts
    reports(pool.train(TASKS, VALUES, {}))
    assert stalls[-1] == Stall(50, "client actors, 1 with 1 CPUs and 0 GPUs")


def test_a_call_that_takes_long_is_no_stall(pooled: Pooled) -> None:
    def late(reference: FakeReference) -> object:
        if ray.now > 500:
            return answer(reference)
        stalls.append(pool.stall())
        return HANG

    stalls: list[Stall | None] = []
    ray = FakeRay(late)
    pool = pooled(ray, lambda: [WHOLE])
    reports(pool.train(TASKS, VALUES, {}))
    assert ray.now > 500
    assert {*stalls} == {None}


def test_an_evaluation_is_shared_out_and_scores_come_by_domain(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    scores = pooled(ray, lambda: [WHOLE, SMALL]).evaluate(VALUES)
    assert [(score.domain, score.examples) for score in scores()] == [("dark", 6), ("light", 6), ("noisy", 6)]
    assert {actor.number for actor in ray.actors if "evaluate" in actor.calls} == {0, 1}


def test_the_job_that_began_first_goes_first(pooled: Pooled) -> None:
    ray = FakeRay(answer)
    pool = pooled(ray, lambda: [WHOLE])
    scores = pool.evaluate(VALUES)
    reports(pool.train(TASKS, VALUES, {}))
    calls = [name for name in ray.actors[0].calls if name != "notice"]
    assert calls[:3] == ["evaluate"] * 3
    assert set(calls[3:]) == {"train"}
    assert len(scores()) == 3


@given(data=st.data())
def test_whatever_dies_and_in_whatever_order_calls_end_every_client_is_answered_once(
    make_config: Callable[[Path], ExperimentConfig], data: st.DataObject
) -> None:
    most = data.draw(st.integers(0, 6))
    deaths: list[FakeReference] = []

    def ending(reference: FakeReference) -> object:
        if len(deaths) < most and data.draw(st.booleans()):
            deaths.append(reference)
            return ActorDiedError()
        return answer(reference)

    config = make_config(Path("nowhere"))
    config.runtime = RuntimeConfig(max_attempts=most + 1)
    blueprint = small_blueprint(config, 4)
    ray = FakeRay(ending, lambda ended: data.draw(st.sampled_from(ended)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "ray", ray)
        patch.setattr(pool_module, "time", ray)
        pool = SlotPool(blueprint, ray.put({}), lambda: [WHOLE, WHOLE, SMALL])
        parts = pool.train(TASKS, VALUES, {})
        scores = pool.evaluate(VALUES)
        reports(parts)
        assert len(scores()) == len(blueprint.domains)
    assert len(ray.alive) == pool.size == 3
    assert len(ray.actors) == 3 + len(deaths)


def test_the_fake_ends_the_calls_of_an_actor_that_was_killed() -> None:
    ray = FakeRay(lambda reference: HANG)
    actor: FakeActor = ray.remote(object).options(num_cpus=1).remote(0)
    reference = actor.train.remote([])
    assert ray.wait([reference], 1, timeout=2.0) == ([], [reference])
    assert ray.now == 2.0
    ray.kill(actor)
    with pytest.raises(ActorDiedError):
        ray.get(reference)
