from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.config import FleetConfig
from fedra_ray.data.fleet import Fleet
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.errors import SettingError

DOMAINS = ("dark", "light", "noisy")


@pytest.fixture(scope="module")
def dataset(world: Path) -> ParquetDataset:
    return ParquetDataset(str(world / "shapes.parquet"), 16)


def test_clients_take_domains_and_depths_in_turn() -> None:
    fleet = Fleet(FleetConfig(depths=[4, 2], num_clients=5), DOMAINS, 0)
    assert [fleet.domain(client) for client in range(5)] == ["dark", "light", "noisy", "dark", "light"]
    assert [fleet.depth(client) for client in range(5)] == [4, 2, 4, 2, 4]


@pytest.mark.parametrize("num_clients", [3, 7, 72])
def test_the_clients_of_a_domain_share_its_training_images(num_clients: int, dataset: ParquetDataset) -> None:
    fleet = Fleet(FleetConfig(depths=[1], num_clients=num_clients, alpha=0.5), DOMAINS, 0)
    fleet.check_data(dataset)
    for domain in DOMAINS:
        members = [client for client in range(num_clients) if fleet.domain(client) == domain]
        parts = [fleet.examples(client, dataset) for client in members]
        assert all(len(part) for part in parts)
        assert sorted(np.concatenate(parts).tolist()) == list(range(24))


def test_every_process_works_out_the_same_images(dataset: ParquetDataset) -> None:
    config = FleetConfig(depths=[1], num_clients=9, alpha=0.5)
    first, again, other = (Fleet(config, DOMAINS, seed).examples(4, dataset).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@given(
    num_clients=st.integers(1, 50),
    wanted=st.one_of(st.none(), st.integers(1, 50)),
    round_number=st.integers(1, 1000),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_a_cohort_has_the_size_asked_for(
    num_clients: int, wanted: int | None, round_number: int, data: st.DataObject
) -> None:
    eligible = sorted(data.draw(st.sets(st.integers(0, num_clients - 1), min_size=1)))
    fleet = Fleet(FleetConfig(depths=[1], num_clients=num_clients, clients_per_round=wanted), DOMAINS, 0)
    cohort = fleet.cohort(round_number, eligible)
    assert len(cohort) == min(wanted or num_clients, len(eligible))
    assert set(cohort) <= set(eligible)
    assert cohort == sorted(set(cohort))
    assert cohort == fleet.cohort(round_number, eligible)
    assert all(type(client) is int for client in cohort)


def test_rounds_and_seeds_draw_different_cohorts() -> None:
    config = FleetConfig(depths=[1], num_clients=30, clients_per_round=6)
    fleets = [Fleet(config, DOMAINS, seed) for seed in (0, 1)]
    drawn = {tuple(fleet.cohort(number, list(range(30)))) for fleet in fleets for number in (1, 2)}
    assert len(drawn) == 4


def test_every_client_is_drawn_equally_often() -> None:
    fleet = Fleet(FleetConfig(depths=[1], num_clients=10, clients_per_round=3), DOMAINS, 0)
    cohorts = [fleet.cohort(number, list(range(10))) for number in range(1000)]
    counts = np.bincount(np.concatenate(cohorts), minlength=10)
    assert np.abs(counts - 300).max() < 5 * np.sqrt(1000 * 0.3 * 0.7)


def test_a_fleet_in_which_a_client_would_have_no_image_is_refused(dataset: ParquetDataset) -> None:
    fleet = Fleet(FleetConfig(depths=[1], num_clients=73), DOMAINS, 0)
    with pytest.raises(SettingError, match=r"num_clients=73: must be at most 3 x 24, the training images of dark"):
        fleet.check_data(dataset)
