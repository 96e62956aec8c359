import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.cost.gpu_share import gpu_share
from fedra_ray.federation.messages import ClientTask
from fedra_ray.runtime.placement import (
    Node,
    SlotSpec,
    by_label,
    longest_first,
    next_batch,
    plan_slots,
    requested_slots,
)


def task(client: int, depth: int) -> ClientTask:
    return ClientTask(1, client, tuple(range(depth)), ("head",))


def tasks(*depths: int) -> list[ClientTask]:
    return [task(client, depth) for client, depth in enumerate(depths)]


def clients(tasks: list[ClientTask]) -> list[int]:
    return [task.client for task in tasks]


@pytest.mark.parametrize(
    ("clients", "actors", "clients_per_actor", "expected"),
    [
        (6, None, None, 0),
        (6, 2, None, 2),
        (6, 10, None, 6),
        (6, None, 1, 6),
        (6, None, 4, 2),
        (6, None, 100, 1),
        (6, 1, 2, 1),
        (6, 4, 3, 2),
    ],
)
def test_the_configuration_may_ask_for_slots(
    clients: int, actors: int | None, clients_per_actor: int | None, expected: int
) -> None:
    runtime = RuntimeConfig(max_actors=actors, clients_per_actor=clients_per_actor)
    assert requested_slots(clients, runtime) == expected


@pytest.mark.parametrize(
    ("cpus", "num_cpus", "actors", "expected"),
    [(4, 1.0, None, 3), (2, 1.0, None, 2), (2, 0.5, None, 3), (0.9, 1.0, None, 1), (8, 1.0, 2, 2), (0.3, 0.1, None, 3)],
)
def test_without_gpus_every_slot_takes_every_client(
    cpus: float, num_cpus: float, actors: int | None, expected: int
) -> None:
    runtime = RuntimeConfig(num_cpus=num_cpus, max_actors=actors)
    assert plan_slots([12, 6, 3], 12, [Node(cpus, 0)], runtime) == [SlotSpec(12, num_cpus, 0.0)] * expected


def test_one_gpu_holds_one_full_slot_or_its_parts() -> None:
    runtime = RuntimeConfig(num_gpus=1.0)
    assert plan_slots([12, 6, 3], 12, [Node(64, 1)], runtime) == [SlotSpec(12, 1.0, 1.0)]
    specs = plan_slots([12, 6, 3], 12, [Node(64, 2)], runtime)
    assert sorted(spec.tier for spec in specs) == [3, 6, 12]
    assert [spec.num_gpus for spec in sorted(specs, key=lambda spec: spec.tier)] == [1 / 4, 1 / 2, 1.0]


def test_more_slots_go_to_the_tier_with_most_work() -> None:
    specs = plan_slots([6, 3, 3, 3, 3], 6, [Node(64, 3)], RuntimeConfig(num_gpus=1.0))
    assert [spec.tier for spec in specs] == [6, 3, 3, 3, 3]


def test_too_few_gpus_are_refused() -> None:
    with pytest.raises(SettingError, match="the cluster has 0 GPUs") as refusal:
        plan_slots([12, 6], 12, [Node(8, 0)], RuntimeConfig(num_gpus=0.25))
    assert refusal.value.args[:2] == ("runtime.num_gpus", 0.25)


@given(
    depths_held=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    cpus=st.integers(1, 16),
    gpus=st.integers(1, 4),
    share=st.sampled_from([1.0, 1 / 2, 1 / 3, 1 / 5]),
)
@settings(max_examples=150)
def test_slots_fit_the_cluster_and_the_clients(depths_held: list[int], cpus: int, gpus: int, share: float) -> None:
    specs = plan_slots(depths_held, 12, [Node(cpus, gpus)], RuntimeConfig(num_gpus=share))
    assert 1 <= len(specs) <= min(len(depths_held), cpus)
    assert sum(spec.num_gpus for spec in specs) <= gpus + 1e-6
    assert max(spec.tier for spec in specs) == max(depths_held)
    assert all(spec.num_gpus == gpu_share(spec.tier, 12, share) for spec in specs)


@given(
    depths_held=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    gpus=st.integers(0, 4),
    share=st.sampled_from([0.0, 1.0, 1 / 2, 1 / 5]),
    actors=st.integers(1, 8),
)
@settings(max_examples=150)
def test_as_many_slots_as_are_asked_for_are_demanded_with_room_or_without(
    depths_held: list[int], gpus: int, share: float, actors: int
) -> None:
    specs = plan_slots(depths_held, 12, [Node(1, gpus)], RuntimeConfig(num_gpus=share, max_actors=actors))
    assert len(specs) == min(len(depths_held), actors)
    assert max(spec.tier for spec in specs) == max(depths_held)


def test_cpus_are_counted_node_by_node() -> None:
    nodes = [Node(1.5, 0)] * 4
    assert len(plan_slots([12] * 9, 12, nodes, RuntimeConfig())) == 4
    assert len(plan_slots([12] * 9, 12, nodes, RuntimeConfig(num_cpus=0.5))) == 9


def test_labelled_kinds_of_nodes_take_the_clients_that_belong_there() -> None:
    nodes = [Node(2, 0, "small"), Node(1, 0, "large"), Node(8, 0)]
    runtime = RuntimeConfig(tier_labels={4: "small", 12: "large"})
    specs = plan_slots([12, 8, 6, 4, 3], 12, nodes, runtime)
    assert specs == [SlotSpec(12, 1.0, 0.0, "large"), *[SlotSpec(4, 1.0, 0.0, "small")] * 2]


@given(depths_held=st.lists(st.integers(1, 12), min_size=4, max_size=30), actors=st.integers(3, 12))
def test_labelled_demand_keeps_to_the_bound(depths_held: list[int], actors: int) -> None:
    runtime = RuntimeConfig(max_actors=actors, tier_labels={12: "large", 3: "small", 6: "middle"})
    specs = plan_slots(depths_held, 12, [], runtime)
    assert len(specs) <= actors
    for label, group in by_label(depths_held, runtime.tier_labels).items():
        assert max(spec.tier for spec in specs if spec.label == label) == max(group)


def test_clients_without_a_label_and_fewer_actors_than_labels_are_refused() -> None:
    with pytest.raises(SettingError, match="must have a label for clients of 8 layers"):
        plan_slots([8, 3], 12, [], RuntimeConfig(tier_labels={4: "small"}))
    with pytest.raises(SettingError, match="must be at least 2, one for every tier label"):
        plan_slots([8, 3], 12, [], RuntimeConfig(max_actors=1, tier_labels={4: "small", 12: "large"}))


def test_the_longest_tasks_come_first() -> None:
    ordered = longest_first([task(3, 1), task(2, 4), task(0, 1), task(1, 2)])
    assert clients(ordered) == [2, 1, 0, 3]


def test_a_batch_is_half_of_a_fair_share() -> None:
    queue = longest_first(tasks(*[2] * 16))
    assert len(next_batch(queue, 2, slots=2, most=None)) == 4
    assert len(next_batch(queue, 2, slots=4, most=None)) == 2
    assert len(next_batch(queue, 2, slots=2, most=3)) == 3
    assert len(next_batch(queue[:3], 2, slots=2, most=None)) == 1


def test_a_slot_takes_the_longest_tasks_that_fit_it() -> None:
    queue = longest_first(tasks(8, 2, 4, 4))
    assert clients(next_batch(queue, 4, slots=1, most=None)) == [2]
    assert clients(next_batch(queue, 8, slots=1, most=None)) == [0]
    assert next_batch(queue, 1, slots=1, most=None) == []
    assert next_batch([], 8, slots=1, most=None) == []


def test_tasks_without_a_layer_count_as_work() -> None:
    queue = tasks(*[0] * 8)
    assert len(next_batch(queue, 1, slots=2, most=None)) == 2


@given(
    depths=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    tiers=st.lists(st.integers(0, 12), min_size=0, max_size=4),
    most=st.one_of(st.none(), st.integers(1, 5)),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=150)
def test_every_task_is_handed_out_once_to_a_slot_that_fits(
    depths: list[int], tiers: list[int], most: int | None, order: object
) -> None:
    tiers = [*tiers, max(depths)]
    queue = longest_first(tasks(*depths))
    handed: list[int] = []
    calls = 0
    while queue:
        tier = order.choice(tiers)  # type: ignore[attr-defined]
        batch = next_batch(queue, tier, len(tiers), most)
        assert len(batch) <= (most or len(queue))
        assert all(len(task.layers) <= tier for task in batch)
        assert batch or all(len(task.layers) > tier for task in queue)
        handed += clients(batch)
        queue = [task for task in queue if task not in batch]
        calls += bool(batch)
    assert sorted(handed) == list(range(len(depths)))
    assert calls >= math.ceil(len(depths) / (most or len(depths)))
