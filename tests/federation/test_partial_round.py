from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.config.errors import ClientLostError
from fedra_ray.config.schema import AggregationConfig
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate
from fedra_ray.federation.partial_round import PartialRound, fault, gather, reduce
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.traffic import Traffic

LAYOUT = Layout(((Entry("a", (2,)),), (Entry("b", (1,)),)), ((Entry("head", (1,)),),), ("head",))
VALUES = np.array([10, 20, 30, 40], dtype=np.float32)


def reduced(answers: list[ClientUpdate | ClientFailure], max_norm: float | None = None) -> PartialRound:
    return reduce(answers, MaskedSums(LAYOUT), LAYOUT, AggregationConfig(max_norm=max_norm), VALUES)


def update(client: int, layers: tuple[int, ...], values: list[float], weight: int = 1, group: int = 0) -> ClientUpdate:
    task = ClientTask(1, client, layers, ("head",), weight=weight, total_weight=10, group=group)
    found = np.array(values, dtype=np.float32)
    return ClientUpdate(
        task, Traffic(found.nbytes, found.nbytes), examples=3, steps=2, loss=0.5, seconds=0.1, values=found
    )


UPDATES = [update(0, (0, 1), [1, 2, 3, 4]), update(1, (1,), [5, 8], weight=3), update(2, (0,), [3, 0, 0])]


def test_updates_are_summed_with_their_weights_over_what_they_hold() -> None:
    partial = reduced(UPDATES)
    assert partial.total.groups[0].mean(VALUES).tolist() == [2, 1, 4.5, np.float32(5.6)]
    assert [(report.task.client, report.traffic.up) for report in partial.reports] == [(0, 16), (1, 8), (2, 12)]
    assert not hasattr(partial.reports[0], "values")


def test_groups_of_the_method_are_summed_apart() -> None:
    partial = reduced([update(0, (0, 1), [1, 2, 3, 4], group=2), update(1, (1,), [5, 8], weight=3, group=1)])
    assert {depth: total.weights.tolist() for depth, total in partial.total.groups.items()} == {
        2: [1, 1, 1],
        1: [0, 3, 3],
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_updates_and_failures_are_told_apart_and_add_nothing(bad: float) -> None:
    failure = ClientFailure(ClientTask(1, 7, (0,), ("head",)), "no luck")
    partial = reduced([update(4, (1,), [1, bad]), failure, UPDATES[2]])
    assert partial.rejected == {4: "not finite"}
    assert partial.failures == [failure]
    assert partial.total.groups[0].mean(VALUES).tolist() == [3, 0, 30, 0]


def test_a_bound_on_the_change_is_measured_from_the_values_before() -> None:
    near, far = update(1, (1,), [33, 44]), update(2, (1,), [33, 44.1])
    partial = reduced([near, far], max_norm=5.0)
    assert [report.task.client for report in partial.reports] == [1]
    assert partial.rejected == {2: "norm 5.08 beyond aggregation.max_norm=5"}


@given(st.permutations(UPDATES), st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_any_grouping_of_clients_gives_the_same_bits(updates: list[ClientUpdate], groups: list[int]) -> None:
    total = PartialRound(MaskedSums(LAYOUT))
    for number in range(3):
        part = [each for each, group in zip(updates, groups, strict=True) if group == number]
        total.merge(reduced(part))
    whole = reduced(UPDATES)
    assert total.total.total().mean(VALUES).tobytes() == whole.total.total().mean(VALUES).tobytes()
    assert {report.task.client for report in total.reports} == {0, 1, 2}


def test_extras_and_what_clients_keep_go_along_and_a_bad_extra_rejects_the_whole_update() -> None:
    good = replace(UPDATES[0], extra={"drift": np.array([1, 1, 2, 3], np.float32)}, kept={"own": np.ones(2)})
    other = replace(UPDATES[1], extra={"drift": np.array([0.5, 4], np.float32)})
    bad = replace(UPDATES[2], extra={"drift": np.array([np.nan, 0, 0], np.float32)}, kept={"own": np.zeros(2)})
    partial = reduced([good, other, bad])
    assert partial.total.extra["drift"].sum().tolist() == [1, 1, 2.5, 7]  # whatever the weights
    assert partial.rejected == {2: "drift: not finite"}
    assert list(partial.kept) == [0]
    assert partial.total.groups[0].weights.tolist() == [1, 4, 4]


def test_a_client_that_failed_on_every_attempt_ends_the_round_or_is_left_out() -> None:
    failure = ClientFailure(ClientTask(4, 7, (0,), ("head",)), "no luck\n")
    parts = [reduced(UPDATES[:1]), PartialRound(failures=[failure]), reduced(UPDATES[1:])]
    with pytest.raises(ClientLostError, match="round 4: client 7 failed 3 times, the last time with: no luck"):
        gather(parts, MaskedSums(LAYOUT), "fail", 3)
    whole = gather(parts, MaskedSums(LAYOUT), "drop", 3)
    assert whole.failures == [failure]
    assert whole.total.groups[0].mean(VALUES).tolist() == reduced(UPDATES).total.groups[0].mean(VALUES).tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([10, 20, 40], None),
        ([13, 24, 40], None),
        ([13, 24, 40.5], "norm 5.02 beyond aggregation.max_norm=5"),
        ([np.nan, 2, 3], "not finite"),
        ([1, -np.inf, 3], "not finite"),
        ([1, 2, 2e9], "a value of 2e+09, beyond 1.07e+08"),
    ],
)
def test_an_update_that_must_not_be_averaged_is_told_apart(values: list[float], message: str | None) -> None:
    assert fault(update(0, (0,), values), LAYOUT, AggregationConfig(max_norm=5.0), VALUES) == message


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=6))
def test_what_passes_fits_the_exact_sum_in_any_order(values: list[float]) -> None:
    task = ClientTask(1, 0, (1,), (), total_weight=len(values))
    updates = [
        ClientUpdate(task, Traffic(4, 4), 1, 1, 0.0, 0.0, values=np.array([value], np.float32)) for value in values
    ]
    partial = reduced(updates)
    assert np.isfinite(partial.total.total().mean(VALUES)).all()
