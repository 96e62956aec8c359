"""Aggregations of LoRA factors in whole rounds, and what is particular to one of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess, finish, restarted

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import ExperimentConfig, WrapperConfig
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.inclusivefl import InclusiveFL
from fedra_ray.methods.method import Problem
from fedra_ray.methods.wrapper import Wrapper

AGGREGATIONS = {
    "flexlora": "FlexLora",
    "lorafair": "LoraFair",
    "ffalora": "FfaLora",
    "rolora": "RoLora",
    "hetlora": "HetLora",
    "raflora": "RaFlora",
    "fedsalora": "FedSaLora",
    "fedexlora": "FedExLora",
    "flora": "Flora",
}
SERVERS = ("flexlora", "lorafair", "hetlora", "raflora", "fedexlora", "flora")
LAYOUT = Layout(
    layers=tuple((Entry(f"blocks.{i}.x.lora_A", (2, 3)), Entry(f"blocks.{i}.x.lora_B", (4, 2))) for i in range(3)),
    heads=((Entry("heads.head.weight", (2, 4)), Entry("heads.head.bias", (2,))),),
    head_names=("head",),
)


def target(name: str) -> str:
    return f"fedra_ray.methods.{name}.{AGGREGATIONS[name]}"


@pytest.fixture
def around(config: ExperimentConfig) -> Callable[..., ExperimentConfig]:
    """around(name): the experiment with this aggregation and cohorts of 3 of 9 clients, whose ranks differ."""

    def make(name: str | None) -> ExperimentConfig:
        config.fleet.num_clients, config.fleet.clients_per_round = 9, 3
        config.rounds, config.checkpoint.every, config.evaluation.every = 4, 2, 4
        config.lora.rank, config.lora.ranks = 4, {1: 1, 2: 2}
        config.lora_aggregation = WrapperConfig(name or "fedit", target=target(name) if name else None)
        return config

    return make


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_each_changes_the_result_and_no_order_of_arrival_does(
    name: str, around: Callable[..., ExperimentConfig], tmp_path: Path
) -> None:
    plain = finish(InProcess(around(None)), tmp_path / "plain")
    first = finish(InProcess(around(name)), tmp_path / "first")
    second = finish(InProcess(around(name), arrival=5), tmp_path / "second")
    assert first.values.tobytes() == second.values.tobytes()
    assert first.values[: len(plain.values)].tobytes() != plain.values.tobytes()
    assert first.scores == second.scores
    assert np.isfinite(first.values).all()


@pytest.mark.parametrize("name", ["fedsalora", "hetlora", "flora"])
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    name: str, around: Callable[..., ExperimentConfig], tmp_path: Path
) -> None:
    whole = finish(InProcess(around(name)), tmp_path / "whole")
    parts = restarted(around(name), tmp_path / "parts", 8)
    assert parts.values.tobytes() == whole.values.tobytes()


@pytest.mark.parametrize("name", SERVERS)
def test_a_layer_keeps_its_factors_without_a_holder_and_the_head_is_averaged(name: str) -> None:
    method = instantiate(target(name), "lora_aggregation", Wrapper, {"inner": FedRA(Problem(3, (2,)))})
    layout = LAYOUT if not method.changes_weights else with_changes(LAYOUT)
    rng = np.random.default_rng(0)
    state = method.init_state(layout, 0)
    total = method.reduction(layout)
    updates = [
        ClientUpdate(task, Traffic(0, 0), 1, 1, 0.0, 0.0, values=rng.standard_normal(size).astype(np.float32))
        for task, size in (
            (ClientTask(1, 0, (0, 1), ("head",), total_weight=2), 38),
            (ClientTask(1, 1, (1,), ("head",), total_weight=2), 24),
        )
    ]
    for update in updates:
        total.add(update)
    values = method.merge(state, total).values
    assert values[LAYOUT.segments[2]].tobytes() == state.values[LAYOUT.segments[2]].tobytes()
    if method.changes_weights:
        assert values[layout.segments[5]].any()  # of layer 1, which has two holders
        assert not values[layout.segments[6]].any()
    if name != "flora":
        assert values[LAYOUT.segments[0]].tobytes() != state.values[LAYOUT.segments[0]].tobytes()
    heads = np.mean([update.values[-10:] for update in updates], axis=0)
    np.testing.assert_allclose(values[LAYOUT.segments[3]], heads, rtol=1e-6)


def with_changes(layout: Layout) -> Layout:
    names = tuple(f"weights_{layer}" for layer in range(3))
    changes = tuple((Entry(f"blocks.{layer}.x.change", (4, 3)),) for layer in range(3))
    return Layout(layout.layers, layout.heads, layout.head_names, changes, names)


@pytest.mark.parametrize("name", SERVERS)
def test_a_method_that_aggregates_in_its_own_way_is_refused(name: str) -> None:
    inner = InclusiveFL(Problem(3, (2,)), momentum=0.5)
    with pytest.raises(SettingError, match="set it to fedit"):
        instantiate(target(name), "lora_aggregation", Wrapper, {"inner": inner})


def test_clients_of_fedsalora_go_on_with_their_own_b(around: Callable[..., ExperimentConfig], tmp_path: Path) -> None:
    config = around("fedsalora")
    config.fleet.num_clients = config.fleet.clients_per_round = 2
    config.fleet.depths, config.lora.ranks = [4], {}
    config.rounds = 2
    workers = InProcess(config)
    finish(workers, tmp_path)
    first, second = ([update for update in workers.updates if update.task.round == number] for number in (1, 2))
    for before, after in zip(sorted(first, key=by_client), sorted(second, key=by_client), strict=True):
        assert before.task.client == after.task.client
        assert not np.array_equal(before.kept["fedsalora.own"], after.kept["fedsalora.own"])
    assert not np.array_equal(first[0].kept["fedsalora.own"], first[1].kept["fedsalora.own"])


def by_client(update: ClientUpdate) -> int:
    return update.task.client
