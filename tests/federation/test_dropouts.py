import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.config.schema import FleetConfig
from fedra_ray.federation.dropouts import respond

COHORT = list(range(0, 20000, 2))


def silent(config: FleetConfig, cohort: list[int], seed: int, number: int) -> tuple[list[int], list[int]]:
    """Who drops out and who is late, without simulated devices."""
    responses = respond(config, cohort, seed, number)
    assert responses.duration({*responses.dropped, *responses.late}) is None
    return responses.dropped, responses.late


def test_by_default_everybody_answers_in_time() -> None:
    assert silent(FleetConfig(), COHORT, 0, 1) == ([], [])
    assert silent(FleetConfig(straggler_spread=2.0), COHORT, 0, 1) == ([], [])
    assert silent(FleetConfig(round_deadline=1.5), COHORT, 0, 1) == ([], [])


def test_clients_drop_out_with_the_given_probability() -> None:
    dropped, late = silent(FleetConfig(dropout=0.3), COHORT, 0, 1)
    assert len(dropped) / len(COHORT) == pytest.approx(0.3, abs=0.02)
    assert late == []
    assert set(dropped) <= set(COHORT)


def test_late_ones_are_the_tail_of_a_log_normal() -> None:
    """P(exp(s z) > e^s) = P(z > 1) = 0.1587, of those that did not drop out."""
    config = FleetConfig(dropout=0.5, straggler_spread=0.7, round_deadline=float(np.exp(0.7)))
    dropped, late = silent(config, COHORT, 0, 1)
    assert len(late) / (len(COHORT) - len(dropped)) == pytest.approx(0.1587, abs=0.02)
    assert not set(late) & set(dropped)


def test_rounds_and_seeds_differ_and_repeat() -> None:
    config = FleetConfig(dropout=0.5)
    found = {tuple(silent(config, COHORT, seed, number)[0]) for seed in (0, 1) for number in (1, 2)}
    assert len(found) == 4
    assert silent(config, COHORT, 1, 2) == silent(config, COHORT, 1, 2)
    assert silent(config, [], 0, 1) == ([], [])


def test_a_slow_device_is_late_whenever_the_deadline_is_below_its_time() -> None:
    """The median of 1, 2 and 9 s is 2 s."""
    seconds = [1.0, 9.0, 2.0]
    assert respond(FleetConfig(round_deadline=4.6), [3, 5, 8], 0, 1, seconds).late == []
    responses = respond(FleetConfig(round_deadline=4.4), [3, 5, 8], 0, 1, seconds)
    assert (responses.late, responses.deadline) == ([5], pytest.approx(8.8))
    assert responses.seconds == {3: 1.0, 5: 9.0, 8: 2.0}


def test_a_round_lasts_until_the_slowest_answer_or_the_deadline() -> None:
    seconds = [1.0, 9.0, 2.0]
    patient = respond(FleetConfig(), [3, 5, 8], 0, 1, seconds)
    assert patient.duration(set()) == 9.0
    assert patient.duration({5}) == 2.0
    assert patient.duration({3, 5, 8}) == 0.0
    hurried = respond(FleetConfig(round_deadline=2.5), [3, 5, 8], 0, 1, seconds)
    assert hurried.duration({5}) == 5.0
    assert hurried.duration({3, 5, 8}) == 5.0
    assert respond(FleetConfig(round_deadline=9.0), [3, 5, 8], 0, 1, seconds).duration(set()) == 9.0


def test_stragglers_are_slower_than_their_device_by_a_log_normal_factor() -> None:
    config = FleetConfig(straggler_spread=0.7)
    responses = respond(config, COHORT, 0, 1, [5.0] * len(COHORT))
    logarithms = np.log(np.array(list(responses.seconds.values())) / 5)
    assert logarithms.mean() == pytest.approx(0, abs=0.03)
    assert logarithms.std() == pytest.approx(0.7, abs=0.03)


cohorts = st.lists(st.integers(0, 99), unique=True)


@given(st.integers(-9, 9), st.floats(0, 2), st.floats(0.1, 10), st.floats(0, 0.9), cohorts)
def test_equal_devices_change_nobody(
    exponent: int, spread: float, deadline: float, dropout: float, cohort: list[int]
) -> None:
    config = FleetConfig(straggler_spread=spread, round_deadline=deadline, dropout=dropout)
    with_devices = respond(config, cohort, 3, 1, [2.0**exponent] * len(cohort))
    assert (with_devices.dropped, with_devices.late) == silent(config, cohort, 3, 1)
