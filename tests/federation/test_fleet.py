import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, FleetConfig, PartitionConfig
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.seeding import Purpose, generator

DOMAINS = ("dark", "light", "noisy")


def make_fleet(seed: int = 0, scheme: str = "domain", **settings: Any) -> Fleet:
    """A fleet over three domains."""
    config = ExperimentConfig(fleet=FleetConfig(**settings), partition=PartitionConfig(scheme=scheme), seed=seed)
    return Fleet(config, DOMAINS)


def anyone(_: int) -> bool:
    return True


def test_clients_take_domains_and_depths_in_turn() -> None:
    fleet = make_fleet(depths=[4, 2], num_clients=5)
    assert [fleet.domain(client) for client in range(5)] == ["dark", "light", "noisy", "dark", "light"]
    assert fleet.depths(1).tolist() == [4, 2, 4, 2, 4]
    assert fleet.depths(1).tolist() == fleet.depths(7).tolist() == fleet.possible_depths()


def test_more_depths_than_clients_are_cut_off() -> None:
    assert make_fleet(depths=[4, 2, 1], num_clients=2).depths(1).tolist() == [4, 2]


def test_nobody_can_change_the_depths_that_all_share() -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_fleet(num_clients=3).depths(1)[0] = 1


def test_clients_with_images_of_all_domains_are_mixed() -> None:
    fleet = make_fleet(scheme="iid", num_clients=4)
    assert {fleet.domain(client) for client in range(4)} == {"mixed"}


def test_dynamic_depths_are_drawn_for_each_round() -> None:
    fleet, again, other = (make_fleet(seed, depths=[4, 3, 2, 1], dynamic=True, num_clients=50) for seed in (0, 0, 1))
    first = fleet.depths(1).tolist()
    assert first == again.depths(1).tolist() == fleet.depths(1).tolist()
    assert set(first) == {1, 2, 3, 4}
    assert len({tuple(drawn.tolist()) for drawn in (fleet.depths(1), fleet.depths(2), other.depths(1))}) == 3


def test_a_round_forgotten_is_drawn_again_alike() -> None:
    fleet = make_fleet(depths=[4, 1], dynamic=True, num_clients=50)
    first = fleet.depths(1).tolist()
    for number in range(2, 20):
        fleet.depths(number)
    assert fleet.depths(1).tolist() == first


@pytest.mark.parametrize(("probabilities", "expected"), [(None, [1 / 3] * 3), ([0.7, 0.3, 0.0], [0.7, 0.3, 0.0])])
def test_dynamic_depths_follow_their_probabilities(probabilities: list[float] | None, expected: list[float]) -> None:
    fleet = make_fleet(depths=[12, 6, 3], dynamic=True, probabilities=probabilities, num_clients=100)
    drawn = np.concatenate([fleet.depths(number) for number in range(1, 101)])
    shares = [float(np.mean(drawn == depth)) for depth in (12, 6, 3)]
    assert shares == pytest.approx(expected, abs=5 * np.sqrt(0.25 / 10_000))
    assert (drawn == 3).any() == bool(expected[2])


@given(
    num_clients=st.integers(1, 50),
    wanted=st.one_of(st.none(), st.integers(1, 50)),
    round_number=st.integers(1, 1000),
    depths=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    least=st.integers(1, 5),
    dynamic=st.booleans(),
)
@settings(max_examples=200)
def test_a_cohort_has_the_size_asked_for_and_only_eligible_clients(
    num_clients: int, wanted: int | None, round_number: int, depths: list[int], least: int, dynamic: bool
) -> None:
    fleet = make_fleet(depths=depths, num_clients=num_clients, clients_per_round=wanted, dynamic=dynamic)
    held = fleet.depths(round_number)
    eligible = np.flatnonzero(held >= least).tolist()
    cohort = fleet.cohort(round_number, lambda depth: depth >= least)
    assert len(cohort) == min(wanted or num_clients, len(eligible))
    assert set(cohort) <= set(eligible)
    assert cohort == sorted(set(cohort))
    assert cohort == fleet.cohort(round_number, lambda depth: depth >= least)
    assert all(type(client) is int for client in cohort)


def test_a_cohort_is_numpys_draw_from_the_eligible_clients() -> None:
    """What earlier runs have drawn stays: a choice without replacement from the stream of the round."""
    fleet = make_fleet(seed=3, depths=[4, 2], num_clients=50, clients_per_round=5)
    for least, clients in ((4, range(0, 50, 2)), (1, range(50)), (4, range(0, 50, 2))):
        drawn = generator(3, Purpose.COHORT, 7).choice(clients, 5, replace=False)
        assert fleet.cohort(7, least.__le__) == sorted(drawn.tolist())


@given(
    num_clients=st.integers(1, 40),
    per_domain=st.one_of(st.none(), st.integers(1, 5)),
    round_number=st.integers(1, 1000),
    least=st.integers(1, 4),
)
@settings(max_examples=200)
def test_a_cohort_per_domain_has_equally_many_of_each(
    num_clients: int, per_domain: int | None, round_number: int, least: int
) -> None:
    wanted = None if per_domain is None else 3 * per_domain
    fleet = make_fleet(depths=[4, 3, 2, 1], num_clients=num_clients, clients_per_round=wanted, sampling="per_domain")
    cohort = fleet.cohort(round_number, lambda depth: depth >= least)
    eligible = [client for client in range(num_clients) if fleet.depths(1)[client] >= least]
    for domain in range(3):
        available = [client for client in eligible if client % 3 == domain]
        drawn = [client for client in cohort if client % 3 == domain]
        assert set(drawn) <= set(available)
        assert len(drawn) == min(per_domain or 1, len(available))
    assert cohort == sorted(set(cohort)) == fleet.cohort(round_number, lambda depth: depth >= least)


@pytest.mark.parametrize("sampling", ["uniform", "per_domain"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_cohort_without_eligible_clients_is_empty(sampling: str, dynamic: bool) -> None:
    fleet = make_fleet(depths=[3, 2], sampling=sampling, dynamic=dynamic)
    assert fleet.cohort(1, lambda depth: depth >= 4) == []


@pytest.mark.parametrize("sampling", ["uniform", "per_domain"])
def test_rounds_and_seeds_draw_different_cohorts(sampling: str) -> None:
    fleets = [make_fleet(seed, num_clients=30, clients_per_round=6, sampling=sampling) for seed in (0, 1)]
    drawn = {tuple(fleet.cohort(number, anyone)) for fleet in fleets for number in (1, 2)}
    assert len(drawn) == 4


@pytest.mark.parametrize("sampling", ["uniform", "per_domain"])
def test_every_client_is_drawn_equally_often(sampling: str) -> None:
    fleet = make_fleet(num_clients=9, clients_per_round=3, sampling=sampling)
    cohorts = [fleet.cohort(number, anyone) for number in range(900)]
    counts = np.bincount(np.concatenate(cohorts), minlength=9)
    assert np.abs(counts - 300).max() < 5 * np.sqrt(900 * 2 / 9)


def test_cohorts_and_depths_are_drawn_independently() -> None:
    """Deep clients join no more often than shallow ones: 5 of 10 clients of depths 4 and 2, drawn each round."""
    fleet = make_fleet(depths=[4, 2], dynamic=True, num_clients=10, clients_per_round=5)
    joined = np.concatenate([fleet.depths(number)[fleet.cohort(number, anyone)] for number in range(1, 401)])
    assert np.mean(joined == 4) == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / 2000))


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"num_clients": 7}, 7),
        ({"num_clients": 7, "clients_per_round": 2}, 2),
        ({"num_clients": 7, "sampling": "per_domain"}, 3),
        ({"num_clients": 7, "sampling": "per_domain", "clients_per_round": 6}, 6),
        ({"num_clients": 2, "sampling": "per_domain"}, 2),
    ],
)
def test_the_size_of_a_full_cohort_is_known_beforehand(settings: dict[str, Any], size: int) -> None:
    fleet = make_fleet(depths=[2], **settings)
    assert fleet.cohort_size == size
    assert {len(fleet.cohort(number, anyone)) for number in range(1, 20)} == {size}


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"num_clients": 6}, [1, 2, 3, 4, 5, 6]),
        ({"num_clients": 6, "clients_per_round": 3}, [1, 2, 3]),
        ({"num_clients": 6, "clients_per_round": 3, "sampling": "per_domain"}, [1, 2, 3]),
        ({"num_clients": 5, "clients_per_round": 3, "sampling": "per_domain"}, [2, 3, 4]),
        ({"num_clients": 6, "clients_per_round": 4, "dynamic": True}, [1, 1, 1, 1]),
    ],
    ids=["all", "uniform", "a domain's shallower client", "a domain with one client", "dynamic"],
)
def test_the_shallowest_cohort_has_the_least_depths(settings: dict[str, Any], least: list[int]) -> None:
    fleet = make_fleet(depths=[6, 5, 4, 3, 2, 1], **settings)
    assert sorted(fleet.shallowest_cohort()) == least


@given(
    depths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    num_clients=st.integers(3, 30),
    per_domain=st.integers(1, 3),
    sampling=st.sampled_from(["uniform", "per_domain"]),
    dynamic=st.booleans(),
)
@settings(max_examples=100)
def test_no_cohort_is_shallower_than_the_shallowest(
    depths: list[int], num_clients: int, per_domain: int, sampling: str, dynamic: bool
) -> None:
    wanted = 3 * min(per_domain, num_clients // 3)
    fleet = make_fleet(
        depths=depths, num_clients=num_clients, clients_per_round=wanted, sampling=sampling, dynamic=dynamic
    )
    least = sum(fleet.shallowest_cohort())
    for number in range(1, 5):
        assert fleet.depths(number)[fleet.cohort(number, anyone)].sum() >= least


def test_as_many_of_each_domain_needs_a_multiple_of_the_domains() -> None:
    with pytest.raises(SettingError, match=r"fleet.clients_per_round=4: must be a multiple of the 3 domains"):
        make_fleet(num_clients=6, clients_per_round=4, sampling="per_domain")


def test_clients_without_a_domain_cannot_be_drawn_per_domain() -> None:
    with pytest.raises(SettingError, match=r"fleet.sampling=per_domain: .*partition.scheme=iid have no domain"):
        make_fleet(scheme="iid", sampling="per_domain")


def test_what_is_drawn_depends_on_nothing_else_in_the_configuration() -> None:
    config = ExperimentConfig(fleet=FleetConfig(num_clients=30, clients_per_round=5, dynamic=True))
    other = dataclasses.replace(config, rounds=7, partition=PartitionConfig(scheme="iid"))
    fleets = [Fleet(some, DOMAINS) for some in (config, other)]
    assert len({tuple(fleet.depths(3).tolist()) for fleet in fleets}) == 1
    assert len({tuple(fleet.cohort(3, anyone)) for fleet in fleets}) == 1


def test_depths_that_may_be_drawn_are_all_named_even_for_few_clients() -> None:
    config = ExperimentConfig(fleet=FleetConfig(depths=[1, 4, 2], dynamic=True, num_clients=2))
    assert Fleet(config, ("a", "b")).possible_depths() == [1, 4, 2]
    config.fleet.probabilities = [0.5, 0.0, 0.5]
    assert Fleet(config, ("a", "b")).possible_depths() == [1, 2]
    assert Fleet(config, ("a", "b")).shallowest_cohort() == [1, 1]


@given(
    depths=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    num_clients=st.integers(1, 60),
    wanted=st.one_of(st.none(), st.integers(1, 20)),
)
@settings(max_examples=200)
def test_possible_depths_are_enough_for_every_cohort(depths: list[int], num_clients: int, wanted: int | None) -> None:
    fleet = make_fleet(depths=depths, num_clients=num_clients, clients_per_round=wanted and min(wanted, num_clients))
    listed, held = fleet.possible_depths(), fleet.depths(1).tolist()
    for depth in set(depths):
        assert min(listed.count(depth), fleet.cohort_size) == min(held.count(depth), fleet.cohort_size)
    assert len(listed) <= fleet.cohort_size * len(depths)
