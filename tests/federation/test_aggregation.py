import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedra_ray.federation.aggregation import MaskedSum

SEGMENTS = [slice(0, 3), slice(3, 6)]
PREVIOUS = np.array([10, 20, 30, 40, 50, 60], dtype=np.float32)

Update = tuple[list[int], np.ndarray, int]


def vector(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def summed(segments: list[slice], updates: list[Update]) -> MaskedSum:
    total = MaskedSum(segments)
    for held, values, weight in updates:
        total.add(held, values, weight)
    return total


def slow_mean(segments: list[slice], updates: list[Update], previous: np.ndarray) -> np.ndarray:
    """The weighted mean over the holders of each segment, in float64, one segment after another."""
    result = previous.astype(np.float64)
    for index, segment in enumerate(segments):
        parts, weights = [], []
        for held, values, weight in updates:
            if index in held:
                sizes = [segments[other].stop - segments[other].start for other in held]
                start = sum(sizes[: held.index(index)])
                parts.append(values[start : start + segment.stop - segment.start].astype(np.float64))
                weights.append(weight)
        if parts:
            result[segment] = np.average(parts, axis=0, weights=weights)
    return result


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[slice], list[Update], np.ndarray]:
    """Segments, the updates of a round, and the values before it."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    stops = np.cumsum(sizes).tolist()
    segments = [slice(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]
    floats = st.one_of(
        st.floats(-1000, 1000, width=32),
        st.floats(-100_000, 100_000, width=32),
        st.floats(-(2.0**-126), 2.0**-126, width=32),  # denormals
    )
    updates = []
    for _ in range(draw(st.integers(1, 6))):
        held = sorted(draw(st.sets(st.sampled_from(range(len(sizes))), min_size=1)))
        length = sum(sizes[index] for index in held)
        updates.append((held, draw(hnp.arrays(np.float32, length, elements=floats)), draw(st.integers(1, 1000))))
    return segments, updates, draw(hnp.arrays(np.float32, stops[-1], elements=floats))


def test_mean_of_each_segment_is_over_its_holders() -> None:
    total = MaskedSum(SEGMENTS)
    total.add([0], vector(1, 2, 3))
    total.add([0, 1], vector(3, 4, 5, -1, 0, 1))
    assert total.mean(PREVIOUS).tolist() == [2, 3, 4, -1, 0, 1]


def test_a_segment_without_holder_keeps_its_value_bit_by_bit() -> None:
    previous = vector(0.1, -0.0, 1e-30, 7, 8, 9)
    total = MaskedSum(SEGMENTS)
    total.add([1], vector(1, 2, 3))
    result = total.mean(previous)
    assert result[:3].tobytes() == previous[:3].tobytes()
    assert result[3:].tolist() == [1, 2, 3]


def test_mean_leaves_the_previous_values_alone() -> None:
    previous = PREVIOUS.copy()
    summed(SEGMENTS, [([0], vector(1, 2, 3), 1)]).mean(previous)
    assert previous.tolist() == PREVIOUS.tolist()


def test_examples_weigh_the_mean() -> None:
    total = MaskedSum(SEGMENTS)
    total.add([0], vector(1, 0, 8), weight=3)
    total.add([0], vector(5, 4, 0), weight=1)
    assert total.mean(PREVIOUS)[:3].tolist() == [2, 1, 6]


@given(rounds())
@settings(max_examples=100)
def test_mean_agrees_with_a_slow_one(case: tuple[list[slice], list[Update], np.ndarray]) -> None:
    segments, updates, previous = case
    expected = slow_mean(segments, updates, previous)
    found = summed(segments, updates).mean(previous)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@given(case=rounds(), data=st.data())
@settings(max_examples=100)
def test_order_grouping_and_number_of_actors_change_no_bit(
    case: tuple[list[slice], list[Update], np.ndarray], data: st.DataObject
) -> None:
    segments, updates, previous = case
    shuffled = data.draw(st.permutations(updates))
    actors = data.draw(st.integers(1, 6))
    groups = data.draw(st.lists(st.integers(0, actors - 1), min_size=len(updates), max_size=len(updates)))
    total = MaskedSum(segments)
    for number in data.draw(st.permutations(range(actors))):
        total.merge(
            summed(segments, [update for update, group in zip(shuffled, groups, strict=True) if group == number])
        )
    assert total.mean(previous).tobytes() == summed(segments, updates).mean(previous).tobytes()
    assert total.weights.tolist() == summed(segments, updates).weights.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        MaskedSum(SEGMENTS).add([0], vector(1, bad, 2))


@pytest.mark.parametrize(("value", "weight"), [(2.0**30, 1), (-(2.0**30), 1), (2.0**20, 2**10), (3e38, 1)])
def test_a_sum_beyond_the_range_is_refused(value: float, weight: int) -> None:
    with pytest.raises(ValueError, match="range"):
        MaskedSum(SEGMENTS).add([0], vector(0, value, 0), weight)


def test_the_range_counts_all_updates_together() -> None:
    total = summed(SEGMENTS, [([0], vector(2.0**29, 0, 0), 1)])
    with pytest.raises(ValueError, match="range"):
        total.add([0], vector(2.0**29, 0, 0))


def test_the_largest_sum_in_range_is_exact() -> None:
    total = summed(SEGMENTS, [([0], vector(2.0**29, -(2.0**29), 1), 1), ([0], vector(2.0**28, 0, 3), 1)])
    assert total.mean(PREVIOUS)[:3].tolist() == [2.0**28 + 2.0**27, -(2.0**28), 2]


def test_merged_sums_beyond_the_range_are_refused() -> None:
    total = summed(SEGMENTS, [([0], vector(2.0**29, 0, 0), 1)])
    with pytest.raises(ValueError, match="range"):
        total.merge(summed(SEGMENTS, [([0], vector(2.0**29, 0, 0), 1)]))


@pytest.mark.parametrize("refused", [np.nan, 2.0**31])
def test_a_refused_update_leaves_no_trace(refused: float) -> None:
    total = summed(SEGMENTS, [([0], vector(1, 2, 3), 1)])
    with pytest.raises(ValueError, match=r"finite|range"):
        total.add([0, 1], vector(refused, 0, 0, 0, 0, 0))
    total.add([0], vector(3, 4, 5))
    assert total.mean(PREVIOUS).tolist() == [2, 3, 4, 40, 50, 60]
