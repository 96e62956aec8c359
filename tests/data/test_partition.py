from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fedra_ray.data.partition import Indices, balanced_dirichlet, dirichlet, iid, lazy, shards

SKEWS = (1e4, 10.0, 1.0, 0.1, 1e-3)


def check_parts(parts: list[Indices], count: int, num_clients: int, min_size: int) -> None:
    """Each image once, in ascending order, and nobody below the minimum."""
    assert len(parts) == num_clients
    assert all(len(part) >= min_size for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    num_clients=st.integers(1, 20),
    alpha=st.floats(1e-4, 1e4),
    per_client=st.integers(1, 5),
    min_size=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200)
def test_every_image_has_one_client_and_every_client_the_least_images(
    labels: list[int], num_clients: int, alpha: float, per_client: int, min_size: int, seed: int
) -> None:
    num_clients = min(num_clients, len(labels))
    min_size = min(min_size, len(labels) // num_clients)
    given_labels, rng = np.array(labels), np.random.default_rng(seed)
    for parts in (
        dirichlet(given_labels, num_clients, alpha, min_size, rng),
        shards(given_labels, num_clients, per_client, min_size, rng),
        iid(len(labels), num_clients, min_size, rng),
    ):
        check_parts(parts, len(labels), num_clients, min_size)


def test_equal_seeds_give_equal_parts() -> None:
    labels = np.arange(100) % 10
    first, again, other = (dirichlet(labels, 4, 0.5, 1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [part.tolist() for part in first] == [part.tolist() for part in again]
    assert [part.tolist() for part in first] != [part.tolist() for part in other]


def shares(alpha: float) -> np.ndarray:
    """Share (clients, classes) of each class's images that falls on each of four clients."""
    labels = np.repeat(np.arange(10), 500)
    parts = dirichlet(labels, 4, alpha, 1, np.random.default_rng(0))
    return np.array([np.bincount(labels[part], minlength=10) / 500 for part in parts])


def test_a_large_alpha_shares_every_class_equally() -> None:
    assert np.abs(shares(1e4) - 0.25).max() < 0.03


def test_a_small_alpha_gives_classes_to_single_clients() -> None:
    assert (shares(1e-3).max(axis=0) > 0.9).all()


def test_which_images_of_a_class_a_client_gets_is_drawn() -> None:
    first, _ = dirichlet(np.zeros(100, dtype=np.int64), 2, 100.0, 1, np.random.default_rng(0))
    assert 30 <= np.sum(first < 50) / len(first) * 100 <= 70


def test_shares_vary_as_the_concentration_says() -> None:
    """Dirichlet(alpha) over n clients: each share has variance (n - 1) / (n^2 (n alpha + 1))."""
    labels = np.repeat(np.arange(200), 100)
    parts = dirichlet(labels, 4, 0.5, 1, np.random.default_rng(0))
    found = np.array([np.bincount(labels[part], minlength=200) / 100 for part in parts])
    assert found.var() == pytest.approx(3 / (16 * 3), rel=0.1)


def test_the_richest_give_to_those_below_the_minimum() -> None:
    """Nearly all images of the one class fall on one client, who alone can give."""
    labels = np.zeros(100, dtype=np.int64)
    sizes = sorted(len(part) for part in dirichlet(labels, 4, 1e-3, 10, np.random.default_rng(0)))
    assert sizes == [10, 10, 10, 70]


def test_a_minimum_that_all_have_changes_nothing() -> None:
    labels = np.arange(400) % 10
    without, within = (dirichlet(labels, 4, 100.0, least, np.random.default_rng(0)) for least in (1, 50))
    assert [part.tolist() for part in without] == [part.tolist() for part in within]


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    num_clients=st.integers(1, 10),
    per_client=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100)
def test_shards_are_equal_and_hold_neighbouring_classes(
    counts: list[int], num_clients: int, per_client: int, seed: int
) -> None:
    """Sizes of shards differ by one at most; a shard that ends inside a class cuts it, so it adds one class at most."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    assume(len(labels) >= num_clients * per_client)
    parts = shards(labels, num_clients, per_client, 1, np.random.default_rng(seed))
    size = len(labels) / (num_clients * per_client)
    assert all(per_client * int(size) <= len(part) <= per_client * -int(-size // 1) for part in parts)
    pieces = sum(len(np.unique(labels[part])) for part in parts)
    assert pieces <= len(counts) + num_clients * per_client - 1


def test_a_client_of_two_shards_has_about_two_classes() -> None:
    labels = np.repeat(np.arange(10), 60)
    parts = shards(labels, 10, 2, 1, np.random.default_rng(0))
    assert [len(part) for part in parts] == [60] * 10
    classes = [len(np.unique(labels[part])) for part in parts]
    assert set(classes) <= {1, 2}
    assert np.mean(classes) > 1.5


def test_shards_of_a_class_are_drawn_at_random() -> None:
    """One shard a client, two a class: which client has which class, and which of its images, follows from the seed."""
    labels = np.repeat([0, 1], 20)
    first, other = (shards(labels, 4, 1, 1, np.random.default_rng(seed)) for seed in (0, 1))
    assert [part.tolist() for part in first] != [part.tolist() for part in other]
    assert first[0].tolist() not in [list(range(start, start + 10)) for start in (0, 10, 20, 30)]


@given(count=st.integers(1, 200), num_clients=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_iid_parts_have_equal_sizes(count: int, num_clients: int, seed: int) -> None:
    num_clients = min(count, num_clients)
    sizes = [len(part) for part in iid(count, num_clients, 1, np.random.default_rng(seed))]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == count


def test_iid_parts_are_uniform_draws() -> None:
    """Each of 1,000 pairs of images that lie side by side is divided between two clients with probability 0.5."""
    (first, _) = iid(2000, 2, 1, np.random.default_rng(0))
    owner = np.isin(np.arange(2000), first).reshape(1000, 2)
    assert np.mean(owner[:, 0] != owner[:, 1]) == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / 1000))


def test_more_clients_than_images_are_refused() -> None:
    labels, rng = np.zeros(3, dtype=np.int64), np.random.default_rng(0)
    with pytest.raises(ValueError, match="3 images are too few for 4 clients with at least 1 each"):
        dirichlet(labels, 4, 1.0, 1, rng)
    with pytest.raises(ValueError, match="3 images are too few for 2 clients with at least 2 each"):
        shards(labels, 2, 1, 2, rng)
    with pytest.raises(ValueError, match="3 images are too few for 1 clients with at least 4 each"):
        iid(3, 1, 4, rng)


@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    count=st.integers(1, 80),
    alpha=st.floats(5e-324, 3e38),
    seed=st.integers(0, 2**32 - 1),
)
@example(labels=[0] * 30 + [7] * 2, count=31, alpha=5e-324, seed=0)
@settings(max_examples=300)
def test_a_lazy_client_has_as_many_images_as_asked_for_and_none_twice(
    labels: list[int], count: int, alpha: float, seed: int
) -> None:
    first, again = (lazy(np.array(labels), count, alpha, np.random.default_rng(seed)) for _ in range(2))
    assert len(first) == min(count, len(labels))
    assert (np.diff(first) > 0).all()
    assert set(first.tolist()) <= set(range(len(labels)))
    assert first.tolist() == again.tolist()


def lazy_counts(labels: Indices, count: int, alpha: float, clients: int = 1000) -> Indices:
    """Images (clients, classes) of lazily drawn clients."""
    drawn = [lazy(labels, count, alpha, np.random.default_rng(seed)) for seed in range(clients)]
    return np.array([np.bincount(labels[images], minlength=labels.max() + 1) for images in drawn])


def test_a_large_alpha_gives_lazy_clients_the_proportions_of_their_domain() -> None:
    """Multinomial counts of 40 images at shares of 3/4 and 1/4."""
    counts = lazy_counts(np.repeat([0, 1], [3000, 1000]), 40, 1e9)[:, 0]
    assert counts.mean() == pytest.approx(30, abs=5 * np.sqrt(40 * 3 / 16 / 1000))
    assert counts.var() == pytest.approx(40 * 3 / 16, rel=0.2)


def test_class_counts_of_lazy_clients_are_dirichlet_multinomial() -> None:
    """n images of K equal classes: variance n (K - 1) / K^2 (n + K alpha) / (1 + K alpha), for n = 20, K = 4."""
    counts = lazy_counts(np.repeat(np.arange(4), 100), 20, 0.5)
    assert counts.mean(axis=0) == pytest.approx([5] * 4, abs=5 * np.sqrt(27.5 / 1000))
    assert counts.var() == pytest.approx(20 * 3 / 16 * (20 + 2) / (1 + 2), rel=0.1)


def test_lazy_clients_are_the_more_skewed_the_smaller_alpha() -> None:
    largest = [lazy_counts(np.repeat(np.arange(10), 50), 30, alpha, 200).max(axis=1).mean() for alpha in SKEWS]
    assert largest == sorted(largest)
    assert largest[0] < 10
    assert largest[-1] > 28


def test_what_a_class_lacks_comes_from_the_others() -> None:
    """Nearly all of a client's proportions fall on one of two classes of 10 images, and it wants 15."""
    assert np.sort(lazy_counts(np.repeat([0, 3], 10), 15, 1e-4, 50)[:, [0, 3]]).tolist() == [[5, 10]] * 50


def test_which_images_of_a_class_a_lazy_client_gets_is_drawn() -> None:
    times = np.zeros(20)
    for seed in range(1000):
        times[lazy(np.full(20, 4), 5, 1.0, np.random.default_rng(seed))] += 1
    assert np.abs(times - 250).max() < 5 * np.sqrt(1000 * 3 / 16)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    num_clients=st.integers(1, 6),
    alpha=st.floats(0.05, 1e4),
    seed=st.integers(0, 2**32 - 1),
)
def test_balanced_parts_have_every_image_once(labels: list[int], num_clients: int, alpha: float, seed: int) -> None:
    num_clients = min(num_clients, len(labels))
    parts = balanced_dirichlet(np.array(labels), num_clients, alpha, 0, np.random.default_rng(seed))
    check_parts(parts, len(labels), num_clients, 0)


def test_balanced_sizes_spread_less() -> None:
    labels = np.repeat(np.arange(20), 50)

    def spread(divide: Callable[..., list[Indices]]) -> float:
        sizes = [[len(part) for part in divide(labels, 5, 0.5, 1, np.random.default_rng(seed))] for seed in range(40)]
        return float(np.mean(np.std(sizes, axis=1) / np.mean(sizes, axis=1)))

    assert spread(balanced_dirichlet) < 0.5 * spread(dirichlet)


def test_a_balanced_partition_is_drawn_until_everybody_has_the_least() -> None:
    labels = np.repeat(np.arange(3), 20)
    sizes = [len(part) for part in balanced_dirichlet(labels, 4, 0.1, 10, np.random.default_rng(0))]
    assert min(sizes) >= 10
    with pytest.raises(ValueError, match="draws gave no 4 clients at least 15 of 60 images each"):
        balanced_dirichlet(labels, 4, 0.1, 15, np.random.default_rng(0))
