"""The arithmetic with stacked factors against the same with dense products."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.federation import factors
from fedra_ray.federation.factors import Factors
from fedra_ray.federation.layout import Entry

EXACT = {"rtol": 1e-9, "atol": 1e-10}


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[list[Factors], list[float]]:
    """Factors of one to four clients, of ranks that may differ, with shares that sum to 1."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inputs, outputs, clients = draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, 4))
    ranks = [draw(st.integers(1, 4)) for _ in range(clients)]
    shares = rng.random(clients) + 0.1
    held = [Factors(rng.standard_normal((rank, inputs)), rng.standard_normal((outputs, rank))) for rank in ranks]
    return held, (shares / shares.sum()).tolist()


def product(own: Factors) -> np.ndarray:
    return own.b @ own.a


def dense_mean(held: list[Factors], shares: list[float]) -> np.ndarray:
    return sum(share * product(own) for share, own in zip(shares, held, strict=True))


@given(cohorts())
def test_a_stack_has_the_mean_product(cohort: tuple[list[Factors], list[float]]) -> None:
    held, shares = cohort
    np.testing.assert_allclose(product(factors.stack(held, shares)), dense_mean(held, shares), **EXACT)


@given(cohorts(), st.integers(1, 9))
def test_a_truncation_is_the_truncated_svd_of_the_product(cohort: tuple[list[Factors], list[float]], rank: int) -> None:
    dense = dense_mean(*cohort)
    left, singular, right = np.linalg.svd(dense)
    kept = min(rank, len(singular))
    truncated = factors.truncate(factors.stack(*cohort), rank)
    assert truncated.a.shape == (rank, dense.shape[1])
    assert truncated.b.shape == (dense.shape[0], rank)
    best = (left[:, :kept] * singular[:kept]) @ right[:kept]
    unambiguous = kept == len(singular) or singular[kept - 1] - singular[kept] > 1e-3
    if unambiguous:
        np.testing.assert_allclose(product(truncated), best, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(dense - product(truncated)), np.linalg.norm(singular[kept:]), atol=1e-7)


@given(cohorts())
def test_both_factors_of_a_truncation_weigh_the_same(cohort: tuple[list[Factors], list[float]]) -> None:
    truncated = factors.truncate(factors.stack(*cohort), 3)
    np.testing.assert_allclose(truncated.a @ truncated.a.T, truncated.b.T @ truncated.b, **EXACT)


@given(cohorts())
def test_the_norm_is_that_of_the_product(cohort: tuple[list[Factors], list[float]]) -> None:
    for own in cohort[0]:
        assert factors.norm(own) == pytest.approx(np.linalg.norm(product(own)), rel=1e-6, abs=1e-7)


def test_values_of_a_layer_are_split_into_targets_and_joined_again() -> None:
    entries = [
        Entry("x.lora_A", (2, 3)),
        Entry("x.lora_B", (1, 2)),
        Entry("y.lora_A", (1, 2)),
        Entry("y.lora_B", (2, 1)),
    ]
    values = np.arange(12, dtype=np.float32)
    first, second = factors.split(entries, values)
    assert first.a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert first.b.tolist() == [[6, 7]]
    assert second.a.tolist() == [[8, 9]]
    assert second.b.tolist() == [[10], [11]]
    assert factors.join([first, second]).tobytes() == values.tobytes()
