"""FedAvgM, FedAdam and FedYogi by hand: two layers and a head of one value each; nobody ever sends the second layer."""

import math

import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.state import ServerState
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.alllarge import AllLarge
from fedra_ray.methods.fedadam import FIRST, SECOND, FedAdam
from fedra_ray.methods.fedavgm import VELOCITY, FedAvgM
from fedra_ray.methods.fedyogi import FedYogi
from fedra_ray.methods.method import Problem
from fedra_ray.methods.server_optimizer import ServerOptimizer

LAYOUT = Layout(((Entry("a", (1,)),), (Entry("b", (1,)),)), ((Entry("head", (1,)),),), ("head",))
INNER = AllLarge(Problem(2, (2,)))
CHANGES = (0.5, -0.25, 0.125)  # of the first layer, in three rounds


def rounds(method: ServerOptimizer) -> list[ServerState]:
    """The states after rounds in which the first layer's mean changes by CHANGES, and the head's by twice that."""
    state = method.init_state(LAYOUT, 0)
    states = [ServerState(np.array([1, 2, 3], np.float32), state.arrays)]
    for change in CHANGES:
        values = states[-1].values
        total = method.reduction(LAYOUT)
        for client, offset in enumerate((-0.5, 0.5)):  # whose mean is the change
            sent = np.array([values[0] + change + offset, values[2] + 2 * change], np.float32)
            task = ClientTask(1, client, (0,), ("head",))
            total.add(ClientUpdate(task, Traffic(8, 8), 1, 1, 0.0, 0.0, values=sent))
        states.append(method.merge(states[-1], total))
    return states


def first_layer(method: ServerOptimizer) -> list[float]:
    return [float(state.values[0]) for state in rounds(method)[1:]]


def test_fedavgm_moves_by_its_velocity() -> None:
    expected, velocity, value = [], 0.0, 1.0
    for change in CHANGES:
        velocity = 0.5 * velocity + change
        value += 0.8 * velocity
        expected.append(value)
    assert first_layer(FedAvgM(INNER, lr=0.8, momentum=0.5)) == pytest.approx(expected, rel=1e-6)


def test_fedavgm_without_momentum_is_the_mean() -> None:
    assert first_layer(FedAvgM(INNER, momentum=0.0)) == pytest.approx(1 + np.cumsum(CHANGES), rel=1e-6)


@pytest.mark.parametrize("kind", [FedAdam, FedYogi])
def test_adaptive_steps_follow_the_paper(kind: type[FedAdam]) -> None:
    beta1, beta2, tau, lr = 0.9, 0.99, 0.01, 0.1
    expected, value, first, second = [], 1.0, 0.0, tau**2
    for change in CHANGES:
        first = beta1 * first + (1 - beta1) * change
        square = change**2
        if kind is FedAdam:
            second = beta2 * second + (1 - beta2) * square
        else:
            second = second - (1 - beta2) * square * math.copysign(1, second - square)
        value += lr * first / (math.sqrt(second) + tau)
        expected.append(value)
    assert first_layer(kind(INNER, lr=lr, beta1=beta1, beta2=beta2, tau=tau)) == pytest.approx(expected, rel=1e-5)


def test_fedyogi_and_fedadam_differ() -> None:
    assert first_layer(FedYogi(INNER)) != first_layer(FedAdam(INNER))


@pytest.mark.parametrize(
    ("method", "names", "start"),
    [(FedAvgM(INNER), [VELOCITY], [0.0]), (FedAdam(INNER), [FIRST, SECOND], [0.0, 1e-6])],
    ids=["FedAvgM", "FedAdam"],
)
def test_what_nobody_sent_keeps_its_value_and_its_moments(
    method: ServerOptimizer, names: list[str], start: list[float]
) -> None:
    *_, last = rounds(method)
    assert last.values[1] == 2
    for name, value in zip(names, start, strict=True):
        assert last.arrays[name][1] == pytest.approx(value)
        assert last.arrays[name][0] != pytest.approx(value)


def test_a_merge_leaves_the_state_before_as_it_was() -> None:
    before, after, *_ = rounds(FedAdam(INNER))
    assert before.values.tolist() == [1, 2, 3]
    assert not before.arrays[FIRST].any()
    assert after.arrays[FIRST].any()


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        (FedAvgM, "lr", 0.0),
        (FedAvgM, "momentum", 1.0),
        (FedAdam, "beta1", -0.1),
        (FedAdam, "beta2", 1.0),
        (FedYogi, "tau", 0.0),
        (FedYogi, "lr", float("nan")),
    ],
)
def test_options_out_of_bounds_are_refused_by_name(kind: type[ServerOptimizer], option: str, value: float) -> None:
    with pytest.raises(SettingError) as refusal:
        kind(INNER, **{option: value})
    assert refusal.value.args[0] == f"server_optimizer.options.{option}"
