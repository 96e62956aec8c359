"""What a plan counts over many rounds, against expectations by formula."""

import itertools

import numpy as np
import pytest

from fedra_ray.config.devices import profiles
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.cost.plan import PlanConfig, PlannedExperiment, plan_experiment
from fedra_ray.federation.allocation import expected_uncovered
from fedra_ray.preflight import check_experiment


@pytest.fixture
def planned(config: ExperimentConfig) -> PlannedExperiment:
    """The miniature experiment, to be planned."""
    return PlannedExperiment(**vars(config), plan=PlanConfig())


def test_coverage_of_a_dynamic_fleet_is_that_of_all_its_rounds(planned: PlannedExperiment) -> None:
    planned.rounds, planned.fleet.dynamic, planned.fleet.depths = 300, True, [2, 1]
    found = plan_experiment(planned).coverage
    cohorts = list(itertools.product([2, 1], repeat=3))
    expected = np.mean([expected_uncovered(list(depths), 4) for depths in cohorts], axis=0)
    spread = np.std([expected_uncovered(list(depths), 4) for depths in cohorts], axis=0)
    assert np.all(np.abs([found.uncovered, found.probability] - expected) < 4 * spread / 300**0.5)
    planned.method = MethodConfig("inclusivefl", "fedra_ray.methods.inclusivefl.InclusiveFL")
    found = plan_experiment(planned).coverage  # layers 2 and 3 never have a holder, layer 1 has none in one of 8 rounds
    assert found.probability == 1
    assert found.uncovered == pytest.approx(2 + 1 / 8, abs=4 * (1 / 8 * 7 / 8 / 300) ** 0.5)


def test_rounds_in_which_nobody_can_take_part_count_as_nothing(planned: PlannedExperiment) -> None:
    planned.method = MethodConfig("exclusive", "fedra_ray.methods.exclusive.Exclusive")
    planned.rounds, planned.fleet.dynamic, planned.fleet.depths = 300, True, [4, 1]
    planned.fleet.devices, planned.seed = ["phone"], 9
    found = plan_experiment(planned)
    assert found.downloads is not None
    assert found.downloads.first == 0  # nobody is in the first round of this seed
    (tier,) = found.tiers
    assert tier.clients == pytest.approx(1.5, abs=4 * (3 / 4 / 300) ** 0.5)  # each of three in every second round
    assert found.round_bytes == pytest.approx(tier.clients * sum(tier.traffic))
    assert found.coverage.probability == pytest.approx(1 / 8, abs=4 * (7 / 64 / 300) ** 0.5)
    assert found.coverage.uncovered == pytest.approx(4 * found.coverage.probability)
    assert found.simulation is not None
    assert 0 < found.simulation.seconds < 300 * found.simulation.devices[0].slowest.total
    planned.rounds = 1
    with pytest.raises(SettingError, match="no client can take part in any drawn round"):
        plan_experiment(planned)


def test_downloads_are_d_times_one_less_d_of_l_blocks_where_clients_fetch(planned: PlannedExperiment) -> None:
    planned.rounds, planned.fleet.storage = 1500, "fetched"
    found = plan_experiment(planned)
    assert found.downloads is not None
    assert found.downloads.rounds == planned.rounds
    sizes = check_experiment(planned)[0].frozen
    for tier, depth in zip(found.tiers, (4, 2, 1), strict=True):
        first = sizes.stem + depth * sizes.blocks[0]
        later = depth * (1 - depth / 4) * sizes.blocks[0]
        assert tier.fetched == pytest.approx((first + 1499 * later) / 1500, rel=0.1)
    planned.fleet.storage = "resident"
    resident = plan_experiment(planned).downloads
    assert resident is not None
    assert resident.first == resident.total == 3 * sizes.whole


def test_fetched_weights_take_time_on_simulated_devices(planned: PlannedExperiment) -> None:
    planned.fleet.devices, planned.rounds = ["phone"], 9
    resident = plan_experiment(planned).simulation
    planned.fleet.storage = "fetched"
    found = plan_experiment(planned)
    assert resident is not None
    assert found.simulation is not None
    speed = profiles(planned.fleet)["phone"].download_mbps * 1e6 / 8
    slowest = found.tiers[0].fetched / speed  # that of the client with all four blocks
    more = found.simulation.devices[0].slowest.download - resident.devices[0].slowest.download
    assert more == pytest.approx(slowest, rel=1e-9)
