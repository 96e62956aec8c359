import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.runs.factors import (
    AGGREGATIONS,
    Factors,
    average_factors,
    average_products,
    decompose,
    effective_rank,
    relative,
    stack,
)

HALF = np.array([0.5, 0.5])


def draw(rng: np.random.Generator, rank: int = 2) -> Factors:
    return Factors(rng.standard_normal((rank, 5)), rng.standard_normal((4, rank)))


def product(factors: Factors) -> np.ndarray:
    return factors.b @ factors.a


def mean_product(held: list[Factors], weights: np.ndarray) -> np.ndarray:
    return sum(weight * product(factors) for factors, weight in zip(held, weights, strict=True))


def test_opposite_factors_cancel_but_their_products_do_not() -> None:
    one = Factors(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    held = [one, Factors(-one.a, -one.b)]
    assert not product(average_factors(held, HALF)).any()
    for aggregate in (stack, average_products):
        assert product(aggregate(held, HALF)) == pytest.approx(np.array([[3.0, 6.0], [4.0, 8.0]]))


def test_the_mean_of_factors_has_cross_terms() -> None:
    # A 1 and 3, B 2 and 4: mean of products (2 + 12) / 2 = 7, product of means 3 · 2 = 6, covariance 1.
    held = [Factors(np.array([[1.0]]), np.array([[2.0]])), Factors(np.array([[3.0]]), np.array([[4.0]]))]
    assert product(average_factors(held, HALF)) == pytest.approx(np.array([[6.0]]))
    assert product(stack(held, HALF)) == pytest.approx(np.array([[7.0]]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_the_gap_is_the_covariance_of_the_factors(seed: int, holders: int) -> None:
    rng = np.random.default_rng(seed)
    held, weights = [draw(rng) for _ in range(holders)], rng.dirichlet(np.ones(holders))
    mean = average_factors(held, weights)
    covariance = mean_product([Factors(each.a - mean.a, each.b - mean.b) for each in held], weights)
    assert mean_product(held, weights) - product(mean) == pytest.approx(covariance, abs=1e-9)
    assert product(stack(held, weights)) == pytest.approx(mean_product(held, weights), abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(AGGREGATIONS)), st.sampled_from(["a", "b"]))
def test_with_one_factor_in_common_every_way_is_exact(seed: int, aggregation: str, common: str) -> None:
    rng = np.random.default_rng(seed)
    one, other = draw(rng), draw(rng)
    other = Factors(one.a, other.b) if common == "a" else Factors(other.a, one.b)
    found = AGGREGATIONS[aggregation]([one, other], HALF)
    assert product(found) == pytest.approx(mean_product([one, other], HALF), abs=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_one_holder_is_taken_as_it_is(aggregation: str) -> None:
    one = draw(np.random.default_rng(0))
    assert product(AGGREGATIONS[aggregation]([one], np.ones(1))) == pytest.approx(product(one))


def test_products_are_cut_back_to_the_best_of_the_same_rank() -> None:
    rng = np.random.default_rng(0)
    held = [draw(rng) for _ in range(2)]
    found, mean = average_products(held, HALF), mean_product(held, HALF)
    assert found.a.shape == (2, 5)
    # Eckart and Young: what is missing is the third and fourth singular value.
    values = np.linalg.svd(mean, compute_uv=False)
    assert np.linalg.norm(product(found) - mean) == pytest.approx(np.linalg.norm(values[2:]))


def test_a_decomposition_is_that_of_the_product() -> None:
    factors = draw(np.random.default_rng(1))
    left, values, right = decompose(factors)
    assert (left * values) @ right == pytest.approx(product(factors))
    assert values == pytest.approx(np.linalg.svd(product(factors), compute_uv=False)[:2])


def test_effective_rank_counts_directions() -> None:
    assert effective_rank(np.array([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert effective_rank(np.array([5.0, 0.0])) == pytest.approx(1)
    # shares 3/4 and 1/4: exp(3/4 ln 4/3 + 1/4 ln 4)
    assert effective_rank(np.array([3.0, 1.0])) == pytest.approx((4 / 3) ** 0.75 * 4**0.25)
    assert math.isnan(effective_rank(np.zeros(2)))


def test_output_is_b_a_x() -> None:
    factors = Factors(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    assert factors.output(np.array([[1.0, 1.0], [0.0, 1.0]])).tolist() == [[9, 12], [6, 8]]


def test_a_relative_error_of_nothing_is_zero() -> None:
    assert relative(np.array([3.0, 4.0]), np.array([0.0, 10.0])) == 0.5
    assert relative(np.zeros(2), np.zeros(2)) == 0
    assert relative(np.ones(2), np.zeros(2)) == math.inf
