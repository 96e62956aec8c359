from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, FleetConfig, PartitionConfig
from fedra_ray.data.dataset import Dataset
from fedra_ray.data.division import TABLE, Division
from fedra_ray.data.parquet import ParquetDataset

DOMAINS = ("dark", "light", "noisy")
SCHEMES = ("domain", "shards", "iid")
EVERY_SCHEME = (*SCHEMES, "lazy")


@pytest.fixture(scope="module")
def dataset(world: Path) -> ParquetDataset:
    """Three domains with 8 training images of each of three shapes."""
    return ParquetDataset(str(world / "shapes.parquet"), 16)


class Unequal(Dataset):
    """Domains x, y and z with 3, 10 and 5 training images of one class."""

    domains = ("x", "y", "z")
    classes = ("only",)

    def labels(self, domain: str, split: str) -> np.ndarray:
        return np.zeros({"x": 3, "y": 10, "z": 5}[domain] if split == "train" else 0, dtype=np.int64)

    def images(self, domain: str, split: str, indices: np.ndarray) -> np.ndarray:
        raise AssertionError("a division must not decode images")


def divide(dataset: Dataset, num_clients: int, seed: int = 0, **settings: Any) -> Division:
    config = ExperimentConfig(
        fleet=FleetConfig(num_clients=num_clients), partition=PartitionConfig(**settings), seed=seed
    )
    return Division(config, dataset)


def shares(division: Division, num_clients: int) -> list[dict[str, list[int]]]:
    """Every client's indices by domain."""
    return [{domain: indices.tolist() for domain, indices in division.share(client)} for client in range(num_clients)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("num_clients", [1, 3, 7, 72])
def test_every_training_image_belongs_to_one_client(scheme: str, num_clients: int, dataset: Dataset) -> None:
    found = shares(divide(dataset, num_clients, scheme=scheme, alpha=0.5), num_clients)
    used = DOMAINS if scheme == "iid" else DOMAINS[:num_clients]
    for domain in used:
        assert sorted(index for share in found for index in share.get(domain, [])) == list(range(24))
    assert all(sum(map(len, share.values())) >= 1 for share in found)
    assert all(indices == sorted(indices) for share in found for indices in share.values())


@pytest.mark.parametrize("scheme", ["domain", "shards", "lazy"])
def test_a_client_has_images_of_its_domain_alone(scheme: str, dataset: Dataset) -> None:
    found = shares(divide(dataset, 8, scheme=scheme), 8)
    assert [list(share) for share in found] == [[DOMAINS[client % 3]] for client in range(8)]


def test_iid_clients_have_images_of_all_domains_and_equally_many() -> None:
    division = divide(Unequal(), 2, scheme="iid")
    found = shares(division, 2)
    assert [sum(map(len, share.values())) for share in found] == [9, 9]
    sizes = {"x": 3, "y": 10, "z": 5}
    assert all(0 <= index < sizes[domain] for share in found for domain, all_ in share.items() for index in all_)
    assert list(found[0]) == ["x", "y", "z"]


def test_iid_leaves_out_domains_of_which_a_client_has_nothing() -> None:
    found = shares(divide(Unequal(), 18, scheme="iid"), 18)
    assert sorted((domain, indices) for share in found for domain, indices in share.items()) == [
        *(("x", [index]) for index in range(3)),
        *(("y", [index]) for index in range(10)),
        *(("z", [index]) for index in range(5)),
    ]


@pytest.mark.parametrize("scheme", EVERY_SCHEME)
def test_every_process_works_out_the_same_images(scheme: str, dataset: Dataset) -> None:
    first, again, other = (
        shares(divide(dataset, 9, seed, scheme=scheme, alpha=0.5, examples_per_client=7), 9) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_client_can_be_asked_for_without_the_others(dataset: Dataset) -> None:
    for scheme in EVERY_SCHEME:
        alone = divide(dataset, 9, scheme=scheme).share(7)
        every = shares(divide(dataset, 9, scheme=scheme), 9)
        assert {domain: indices.tolist() for domain, indices in alone} == every[7]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sizes_are_those_of_the_shares(scheme: str, dataset: Dataset) -> None:
    division = divide(dataset, 7, scheme=scheme, alpha=0.5)
    expected = [sum(map(len, share.values())) for share in shares(division, 7)]
    assert division.sizes().tolist() == expected
    assert sum(expected) == 72


@pytest.mark.parametrize("scheme", ["domain", "shards"])
def test_fewer_clients_than_domains_leave_the_other_domains_out(scheme: str, dataset: Dataset) -> None:
    division = divide(dataset, 2, scheme=scheme)
    assert division.sizes().tolist() == [24, 24]
    assert set(division.table()["domain"].to_pylist()) == {"dark", "light"}


@given(client=st.integers(0, 9), others=st.integers(10, 100_000), alpha=st.floats(0.01, 100), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_a_lazy_client_has_the_same_images_whatever_the_size_of_the_fleet(
    client: int, others: int, alpha: float, seed: int, dataset: Dataset
) -> None:
    fleets = [divide(dataset, size, seed, scheme="lazy", alpha=alpha, examples_per_client=8) for size in (10, others)]
    ((domain, images),), ((same, alike),) = (division.share(client) for division in fleets)
    assert (domain, images.tolist()) == (same, alike.tolist())
    assert len(images) == 8
    assert set(images.tolist()) <= set(range(24))


def test_lazy_clients_of_a_domain_may_share_images_and_do_not_have_the_same(dataset: Dataset) -> None:
    found = shares(divide(dataset, 100_000, scheme="lazy", examples_per_client=20), 7)
    first, second, third = (set(found[client]["dark"]) for client in (0, 3, 6))
    assert first & second & third
    assert len({frozenset(first), frozenset(second), frozenset(third)}) == 3


def test_a_lazy_client_has_all_images_of_a_domain_with_fewer() -> None:
    division = divide(Unequal(), 100_000, scheme="lazy", examples_per_client=4)
    division.check()
    assert division.sizes().tolist() == [3, 4, 4] * 33_333 + [3]
    assert shares(division, 4)[3] == {"x": [0, 1, 2]}


def test_the_table_of_a_lazy_partition_has_its_first_clients(dataset: Dataset) -> None:
    small, large = (divide(dataset, size, scheme="lazy", alpha=0.1) for size in (200, 100_000))
    assert set(large.table()["client"].to_pylist()) == set(range(200))
    assert large.table() == small.table()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_size": 4}, r"examples_per_client=32: x has 3 training images, and .* needs partition.min_size=4"),
        ({"min_size": 3, "examples_per_client": 2}, r"examples_per_client=2: x has 3 .*partition.min_size=3"),
    ],
)
def test_lazy_clients_with_too_few_images_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        divide(Unequal(), 1, scheme="lazy", **settings).check()


class Empty(Unequal):
    """As Unequal, but domain z has no training image."""

    def labels(self, domain: str, split: str) -> np.ndarray:
        return super().labels(domain, split)[: 0 if domain == "z" else None]


def test_a_domain_without_images_is_refused_if_it_has_lazy_clients() -> None:
    with pytest.raises(SettingError, match="z has 0 training images"):
        divide(Empty(), 3, scheme="lazy").check()
    divide(Empty(), 2, scheme="lazy").check()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_client_has_fewer_images_than_the_minimum(scheme: str, dataset: Dataset) -> None:
    division = divide(dataset, 12, scheme=scheme, alpha=0.05, min_size=5)
    division.check()
    assert division.sizes().min() >= 5


def test_shards_give_a_client_few_classes(dataset: Dataset) -> None:
    """24 images a domain in 6 shards of 4, which no class boundary cuts: 8 images in at most 2 classes a client."""
    division = divide(dataset, 9, scheme="shards", shards_per_client=2)
    assert division.sizes().tolist() == [8] * 9
    for client in range(9):
        ((domain, indices),) = division.share(client)
        assert len(np.unique(dataset.labels(domain, "train")[indices])) <= 2


@pytest.mark.parametrize("scheme", EVERY_SCHEME)
def test_the_table_counts_images_by_client_domain_and_class(scheme: str, dataset: Dataset) -> None:
    division = divide(dataset, 7, scheme=scheme, alpha=0.5)
    table = division.table()
    assert table.column("client").to_pylist() == sorted(table.column("client").to_pylist())
    assert table.schema == TABLE
    rows = table.to_pylist()
    expected = {}
    for client in range(7):
        for domain, indices in division.share(client):
            for label in dataset.labels(domain, "train")[indices].tolist():
                key = client, domain, label, dataset.classes[label]
                expected[key] = expected.get(key, 0) + 1
    assert {(row["client"], row["domain"], row["label"], row["label_name"]): row["images"] for row in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize(
    ("num_clients", "settings", "message"),
    [
        (10, {}, r"fleet.num_clients=10: x has 3 training images, too few for 4 clients with at least 1 each"),
        (4, {"min_size": 2}, "x has 3 training images, too few for 2 clients with at least 2 each"),
        (1, {"min_size": 4, "scheme": "shards"}, "x has 3 training images, too few for 1 clients with at least 4"),
        (19, {"scheme": "iid"}, "the data set has 18 training images, too few for 19 clients with at least 1 each"),
        (4, {"scheme": "iid", "min_size": 5}, "18 training images, too few for 4 clients with at least 5 each"),
    ],
)
def test_more_clients_than_the_images_allow_are_refused(
    num_clients: int, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        divide(Unequal(), num_clients, **settings).check()


@pytest.mark.parametrize(
    ("num_clients", "settings"),
    [
        (9, {}),
        (9, {"scheme": "shards"}),
        (3, {"min_size": 3}),
        (18, {"scheme": "iid"}),
        (3, {"scheme": "iid", "min_size": 6}),
    ],
)
def test_the_most_clients_that_the_check_allows_can_be_divided(num_clients: int, settings: dict[str, Any]) -> None:
    division = divide(Unequal(), num_clients, **settings)
    division.check()
    assert division.sizes().sum() == 18
    assert division.sizes().min() >= settings.get("min_size", 1)


@pytest.mark.parametrize("scheme", ["iid", "shards", "lazy"])
def test_balancing_is_refused_where_it_would_do_nothing(scheme: str, dataset: Dataset) -> None:
    with pytest.raises(SettingError, match=r"^partition.balanced=True: balances the clients of a domain"):
        divide(dataset, 3, scheme=scheme, balanced=True).check()


def test_a_minimum_that_no_balanced_draw_reaches_is_refused_before_the_run() -> None:
    settings: dict[str, Any] = {"scheme": "domain", "balanced": True, "alpha": 1e-6}
    divide(Unequal(), 3, **settings).check()
    with pytest.raises(SettingError, match="in x, 1000 draws gave no 2 clients at least 1 of 3 images each") as refusal:
        divide(Unequal(), 6, **settings).check()
    assert refusal.value.args[:2] == ("partition.min_size", 1)


@pytest.mark.parametrize(("part", "images"), [(0.01, 1), (0.3, 3), (1.0, 10)])
def test_the_server_s_own_images_are_a_draw_from_a_domain(part: float, images: int) -> None:
    ((domain, indices),) = divide(Unequal(), 3).proxy(1, part)
    assert domain == "y"
    assert len(set(indices.tolist())) == images
    assert set(indices.tolist()) <= set(range(10))
    ((_, again),) = divide(Unequal(), 3).proxy(1, part)
    assert again.tolist() == indices.tolist()


def test_another_seed_gives_the_server_other_images() -> None:
    drawn = {tuple(divide(Unequal(), 3, seed=seed).proxy(1, 0.5)[0][1].tolist()) for seed in range(5)}
    assert len(drawn) > 1
