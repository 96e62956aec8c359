"""The draws are compared with their exact distributions, enumerated for a few small layers and depths."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.federation.allocation import (
    Matrix,
    anchored,
    balanced,
    covering,
    expected_uncovered,
    layer_coverage,
    prefix,
    suffix,
    uniform,
    weighted,
    window,
)

Draw = Callable[[list[int], int, np.random.Generator], Matrix]
Choice = tuple[tuple[int, ...], ...]


def redraw(depths: list[int], num_layers: int, rng: np.random.Generator) -> Matrix:
    """What `covering` has to equal in distribution: `uniform` until every layer has a holder."""
    while True:
        matrix = uniform(depths, num_layers, rng)
        if matrix.any(axis=0).all():
            return matrix


def choices(depths: list[int], num_layers: int) -> list[Choice]:
    """Every allocation matrix with these depths, as the layers of each client."""
    return list(product(*(combinations(range(num_layers), depth) for depth in depths)))


def frequencies(draw: Draw, depths: list[int], num_layers: int, times: int) -> Counter[Choice]:
    rng = np.random.default_rng(7)
    matrices = (draw(depths, num_layers, rng) for _ in range(times))
    return Counter(tuple(tuple(np.flatnonzero(row).tolist()) for row in matrix) for matrix in matrices)


def assert_equally_likely(found: Counter[Choice], possible: list[Choice]) -> None:
    """Chi-square statistic within five standard deviations of its mean."""
    assert set(found) <= set(possible)
    expected = found.total() / len(possible)
    assert expected > 10
    chi_square = sum((found[choice] - expected) ** 2 / expected for choice in possible)
    freedom = len(possible) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[int], int]:
    """Depths that sum to at least the number of layers, and that number."""
    num_layers = draw(st.integers(1, 12))
    depths = draw(st.lists(st.integers(1, num_layers), min_size=1, max_size=8))
    missing = num_layers - sum(depths)
    return ([*depths, missing] if missing > 0 else depths), num_layers


def test_prefix_holds_the_first_layers() -> None:
    expected = [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert prefix([4, 2, 1, 0], 4).tolist() == np.array(expected, dtype=bool).tolist()


@pytest.mark.parametrize("draw", [uniform, covering, balanced])
def test_full_depth_leaves_no_choice(draw: Draw) -> None:
    assert draw([3, 3], 3, np.random.default_rng(0)).tolist() == [[True] * 3] * 2


def test_two_clients_that_only_just_cover_never_overlap() -> None:
    for seed in range(20):
        matrix = covering([3, 2], 5, np.random.default_rng(seed))
        assert (matrix.sum(axis=0) == 1).all()


@pytest.mark.parametrize("draw", [uniform, covering, balanced])
@given(fleet=fleets(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_every_client_holds_exactly_its_depth(draw: Draw, fleet: tuple[list[int], int], seed: int) -> None:
    depths, num_layers = fleet
    matrix = draw(depths, num_layers, np.random.default_rng(seed))
    assert matrix.dtype == bool
    assert matrix.shape == (len(depths), num_layers)
    assert matrix.sum(axis=1).tolist() == depths


@given(fleet=fleets(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_balanced_layers_have_equally_many_holders_give_or_take_one(fleet: tuple[list[int], int], seed: int) -> None:
    depths, num_layers = fleet
    holders = balanced(depths, num_layers, np.random.default_rng(seed)).sum(axis=0)
    assert holders.max() - holders.min() <= 1


def test_balanced_refuses_a_client_larger_than_the_model() -> None:
    with pytest.raises(ValueError, match="larger than the 3 layers"):
        balanced([4], 3, np.random.default_rng(0))


@given(fleet=fleets(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_covering_leaves_no_layer_without_holder(fleet: tuple[list[int], int], seed: int) -> None:
    depths, num_layers = fleet
    assert covering(depths, num_layers, np.random.default_rng(seed)).any(axis=0).all()


@pytest.mark.parametrize("draw", [uniform, covering, balanced])
def test_equal_seeds_draw_equal_matrices(draw: Draw) -> None:
    first, again, other = (draw([4, 3, 2, 6], 12, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_uniform_draws_every_choice_equally_often() -> None:
    found = frequencies(uniform, [2, 1], 4, 3000)
    assert_equally_likely(found, choices([2, 1], 4))


@pytest.mark.parametrize("draw", [covering, redraw])
@pytest.mark.parametrize(
    ("depths", "num_layers"), [([2, 1, 2], 3), ([1, 2, 1], 3), ([2, 2], 3), ([1, 1, 1], 2), ([3, 1, 1], 4), ([2, 2], 4)]
)
def test_covering_is_uniform_until_covered(draw: Draw, depths: list[int], num_layers: int) -> None:
    covered = [choice for choice in choices(depths, num_layers) if len(set().union(*choice)) == num_layers]
    assert_equally_likely(frequencies(draw, depths, num_layers, 2000), covered)


@pytest.mark.parametrize("depth", [1, 5, 11])
def test_uniform_prefers_no_layer(depth: int) -> None:
    draws, layers = 3000, 12
    holders = uniform([depth] * draws, layers, np.random.default_rng(3)).sum(axis=0)
    share = depth / layers
    assert np.abs(holders - draws * share).max() < 5 * np.sqrt(draws * share * (1 - share))


def test_covering_takes_fleets_whose_number_of_matrices_exceeds_64_bits() -> None:
    depths = [6] * 100
    matrix = covering(depths, 24, np.random.default_rng(0))
    assert matrix.sum(axis=1).tolist() == depths
    assert matrix.any(axis=0).all()


def test_covering_refuses_depths_that_cannot_cover() -> None:
    with pytest.raises(ValueError, match=r"\[2, 1\].* 4 layers"):
        covering([2, 1], 4, np.random.default_rng(0))


@pytest.mark.parametrize("draw", [uniform, covering, balanced])
def test_a_depth_beyond_the_model_is_refused(draw: Draw) -> None:
    with pytest.raises(ValueError, match="larger"):
        draw([5, 1], 4, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("depths", "expected", "probability"),
    [([3] * 6, 2.14, 0.96), ([4] * 6, 1.05, 0.725), ([6] * 6, 0.19, 0.18), ([12, 10, 8, 6, 4, 3], 0, 0), ([], 12, 1)],
)
def test_uncovered_layers_of_the_papers_fleets(depths: list[int], expected: float, probability: float) -> None:
    assert expected_uncovered(depths, 12) == pytest.approx((expected, probability), abs=0.005)


@pytest.mark.parametrize(("depths", "num_layers"), [([2, 1], 4), ([1, 1, 1], 3), ([2, 2], 3), ([0, 2], 3), ([1], 1)])
def test_uncovered_layers_are_counted_over_every_matrix(depths: list[int], num_layers: int) -> None:
    uncovered = [num_layers - len(set().union(*choice)) for choice in choices(depths, num_layers)]
    assert expected_uncovered(depths, num_layers) == pytest.approx(
        (np.mean(uncovered), np.mean([count > 0 for count in uncovered])), abs=1e-12
    )


@given(fleet=fleets(), extra=st.integers(1, 12))
def test_a_further_client_never_leaves_more_layers_uncovered(fleet: tuple[list[int], int], extra: int) -> None:
    depths, num_layers = fleet
    expected, probability = expected_uncovered(depths, num_layers)
    fewer, less_likely = expected_uncovered([*depths, min(extra, num_layers)], num_layers)
    assert fewer < expected or fewer == expected == 0
    assert less_likely <= probability <= min(1, expected)


def test_uncovered_layers_of_a_large_cohort_are_rare() -> None:
    expected, probability = expected_uncovered([6] * 1000, 12)
    assert 0 < probability <= expected < 1e-299


def test_a_layer_is_covered_however_many_hold_it() -> None:
    assert layer_coverage([2, 0, 1, 0]) == 0.5


def test_a_suffix_is_the_last_layers() -> None:
    assert suffix([1, 4, 2], 4).astype(int).tolist() == [[0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1]]


def test_windows_are_equally_likely_in_every_place() -> None:
    places = list(product([(0, 1), (1, 2), (2, 3)], [(0, 1, 2), (1, 2, 3)]))
    assert_equally_likely(frequencies(window, [2, 3], 4, 3000), places)


def test_an_anchored_client_holds_the_anchors_first() -> None:
    rng = np.random.default_rng(0)
    matrix = anchored([1, 2, 6, 3], 6, rng, (0, 5))
    assert matrix[0].tolist() == [True, False, False, False, False, False]
    assert matrix[1].tolist() == [True, False, False, False, False, True]
    assert matrix[2].all()
    assert matrix[3][[0, 5]].all()
    assert matrix.sum(axis=1).tolist() == [1, 2, 6, 3]


@given(st.integers(1, 12), st.integers(0, 2**32), st.booleans())
def test_an_anchored_sample_has_gaps_that_differ_by_at_most_one(depth: int, seed: int, last: bool) -> None:
    anchors = (0, 11) if last else (0,)
    row = anchored([depth], 12, np.random.default_rng(seed), anchors)[0]
    assert row.sum() == depth
    sample = np.setdiff1d(np.flatnonzero(row), anchors)
    gaps = np.diff(sample)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_every_layer_but_the_anchors_is_equally_likely() -> None:
    rng = np.random.default_rng(3)
    counts = np.sum([anchored([4], 12, rng, (0,))[0] for _ in range(4000)], axis=0)
    assert counts[0] == 4000
    np.testing.assert_allclose(counts[1:] / 4000, 3 / 11, atol=5 * np.sqrt(3 / 11 * 8 / 11 / 4000))


def test_a_weighted_draw_takes_layers_in_proportion_one_after_another() -> None:
    weights = np.array([1.0, 2.0, 3.0])
    draws = frequencies(lambda depths, _, rng: weighted(depths, weights, rng), [2], 3, 6000)
    expected = {  # p_i p_j / (1 - p_i) both ways
        ((0, 1),): 1 / 6 * 2 / 5 + 2 / 6 * 1 / 4,
        ((0, 2),): 1 / 6 * 3 / 5 + 3 / 6 * 1 / 3,
        ((1, 2),): 2 / 6 * 3 / 4 + 3 / 6 * 2 / 3,
    }
    for choice, probability in expected.items():
        assert draws[choice] / 6000 == pytest.approx(probability, abs=5 * np.sqrt(probability / 6000))
