"""Groups of similar layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.federation.grouping import consecutive, groups


def blocks_of(labels: list[int]) -> np.ndarray:
    """Cosines that are high within a label and low between labels."""
    same = np.equal.outer(labels, labels)
    return np.where(np.eye(len(labels), dtype=bool), 1.0, np.where(same, 0.9, -0.8))


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0, 2, 2, 0], [0, 0, 0, 1]])
def test_similar_layers_are_found(labels: list[int]) -> None:
    count = max(labels) + 1
    expected = sorted(np.flatnonzero(np.equal(labels, label)).tolist() for label in range(count))
    assert groups(blocks_of(labels), count) == expected


@given(st.integers(1, 12), st.data())
def test_every_layer_is_in_one_of_so_many_groups(layers: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, layers))
    vectors = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal((layers, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for found in (groups(vectors @ vectors.T, count), consecutive(layers, count)):
        assert len(found) == count
        assert sorted(layer for own in found for layer in own) == list(range(layers))
        assert [own[0] for own in found] == sorted(own[0] for own in found)
        assert all(own == sorted(own) for own in found)


def test_layers_that_are_all_alike_are_divided_all_the_same() -> None:
    found = groups(np.ones((5, 5)), 3)
    assert len(found) == 3
    assert all(found)


def test_consecutive_groups_are_as_equal_as_can_be() -> None:
    assert consecutive(12, 5) == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9], [10, 11]]
