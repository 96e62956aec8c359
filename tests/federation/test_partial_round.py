import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate
from fedra_ray.federation.partial_round import PartialRound, reduce
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.inclusivefl import InclusiveFL

LAYOUT = Layout(((Entry("a", (2,)),), (Entry("b", (1,)),)), ((Entry("head", (1,)),),), ("head",))
VALUES = np.array([10, 20, 30, 40], dtype=np.float32)


def blueprint() -> Blueprint:
    return Blueprint(ExperimentConfig(), LAYOUT, (), 8, ("x",), ("c",))


def update(client: int, layers: tuple[int, ...], values: list[float], weight: int = 1) -> ClientUpdate:
    task = ClientTask(1, client, layers, ("head",), 0.5, weight=weight, total_weight=10)
    found = np.array(values, dtype=np.float32)
    return ClientUpdate(task, found.nbytes, examples=3, steps=2, loss=0.5, seconds=0.1, values=found)


UPDATES = [update(0, (0, 1), [1, 2, 3, 4]), update(1, (1,), [5, 8], weight=3), update(2, (0,), [3, 0, 0])]


def test_updates_are_summed_with_their_weights_over_what_they_hold() -> None:
    partial = reduce(UPDATES, blueprint(), FedRA(2, [2]), VALUES)
    assert partial.sums[0].mean(VALUES).tolist() == [2, 1, 4.5, np.float32(5.6)]
    assert [(report.task.client, report.traffic) for report in partial.reports] == [(0, 16), (1, 8), (2, 12)]
    assert not hasattr(partial.reports[0], "values")


def test_groups_of_the_method_are_summed_apart() -> None:
    partial = reduce(UPDATES[:2], blueprint(), InclusiveFL(2, [2, 1]), VALUES)
    assert {depth: total.weights.tolist() for depth, total in partial.sums.items()} == {2: [1, 1, 1], 1: [0, 3, 3]}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_updates_and_failures_are_told_apart_and_add_nothing(bad: float) -> None:
    failure = ClientFailure(ClientTask(1, 7, (0,), ("head",), 0.5), "no luck")
    partial = reduce([update(4, (1,), [1, bad]), failure, UPDATES[2]], blueprint(), FedRA(2, [2]), VALUES)
    assert partial.rejected == {4: "not finite"}
    assert partial.failures == [failure]
    assert partial.sums[0].mean(VALUES).tolist() == [3, 0, 30, 0]


def test_a_bound_on_the_change_is_measured_from_the_values_before() -> None:
    experiment = blueprint()
    experiment.config.aggregation.max_norm = 5.0
    near, far = update(1, (1,), [33, 44]), update(2, (1,), [33, 44.1])
    partial = reduce([near, far], experiment, FedRA(2, [2]), VALUES)
    assert [report.task.client for report in partial.reports] == [1]
    assert partial.rejected == {2: "norm 5.08 beyond aggregation.max_norm=5"}


@given(st.permutations(UPDATES), st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_any_grouping_of_clients_gives_the_same_bits(updates: list[ClientUpdate], groups: list[int]) -> None:
    total = PartialRound()
    for number in range(3):
        part = [each for each, group in zip(updates, groups, strict=True) if group == number]
        total.merge(reduce(part, blueprint(), FedRA(2, [2]), VALUES))
    whole = reduce(UPDATES, blueprint(), FedRA(2, [2]), VALUES)
    assert total.sums[0].mean(VALUES).tobytes() == whole.sums[0].mean(VALUES).tobytes()
    assert {report.task.client for report in total.reports} == {0, 1, 2}
