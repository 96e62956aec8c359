import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.data.partition import dirichlet


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    sharing=st.integers(1, 20),
    alpha=st.floats(1e-4, 1e4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_every_image_has_one_client_and_every_client_an_image(
    labels: list[int], sharing: int, alpha: float, seed: int
) -> None:
    sharing = min(sharing, len(labels))
    parts = dirichlet(np.array(labels), sharing, alpha, np.random.default_rng(seed))
    assert len(parts) == sharing
    assert all(len(part) for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))


def test_equal_seeds_give_equal_parts() -> None:
    labels = np.arange(100) % 10
    first, again, other = (dirichlet(labels, 4, 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [part.tolist() for part in first] == [part.tolist() for part in again]
    assert [part.tolist() for part in first] != [part.tolist() for part in other]


def shares(alpha: float) -> np.ndarray:
    """Share (clients, classes) of each class's images that falls on each of four clients."""
    labels = np.repeat(np.arange(10), 500)
    parts = dirichlet(labels, 4, alpha, np.random.default_rng(0))
    return np.array([np.bincount(labels[part], minlength=10) / 500 for part in parts])


def test_a_large_alpha_shares_every_class_equally() -> None:
    assert np.abs(shares(1e4) - 0.25).max() < 0.03


def test_a_small_alpha_gives_classes_to_single_clients() -> None:
    assert (shares(1e-3).max(axis=0) > 0.9).all()


def test_shares_vary_as_the_concentration_says() -> None:
    """Dirichlet(alpha) over n clients: each share has variance (n - 1) / (n^2 (n alpha + 1))."""
    labels = np.repeat(np.arange(200), 100)
    parts = dirichlet(labels, 4, 0.5, np.random.default_rng(0))
    found = np.array([np.bincount(labels[part], minlength=200) / 100 for part in parts])
    assert found.var() == pytest.approx(3 / (16 * 3), rel=0.1)


def test_more_clients_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="4 clients cannot share 3 images"):
        dirichlet(np.zeros(3, dtype=np.int64), 4, 1.0, np.random.default_rng(0))
