import numpy as np
import pytest

from analysis.benchmark.soak import slope


def test_a_slope_lies_within_its_interval_and_the_start_does_not_count() -> None:
    rounds = np.arange(2000.0)
    noise = np.random.default_rng(0).normal(0, 1, 2000)
    megabytes = 300 + 0.004 * rounds + noise + 50 * np.exp(-rounds / 50)
    growth, half = slope(rounds, megabytes)
    assert growth == pytest.approx(4, abs=half)
    assert 0 < half < 1


def test_the_interval_holds_the_true_slope_about_as_often_as_it_says() -> None:
    noise = np.random.default_rng(1).normal(300, 1, (400, 2000))
    slopes = [slope(np.arange(2000.0), megabytes) for megabytes in noise]
    assert np.mean([abs(growth) < half for growth, half in slopes]) == pytest.approx(0.95, abs=0.04)
