"""Times on simulated devices: by hand for a model of two blocks, and in whole runs of the miniature world."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shipped_method

from fedra_ray.cli.compose import compose_named
from fedra_ray.client.host import ClientHost
from fedra_ray.config.checks import check
from fedra_ray.config.devices import profiles, shipped, with_profiles
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import DeviceConfig, ExperimentConfig, FleetConfig, MethodConfig
from fedra_ray.cost.law import CostModel, Part, Passed
from fedra_ray.cost.plan import PlanConfig, PlannedExperiment, plan_experiment
from fedra_ray.cost.simulation import DeviceShare, simulate
from fedra_ray.cost.workload import Duration, Workload, duration
from fedra_ray.experiment import run
from fedra_ray.federation.allocation import DrawnRound
from fedra_ray.federation.dropouts import respond
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.reports import Outcome
from fedra_ray.federation.traffic import Traffic
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.watch import results

BLOCK = Part(parameters=10**6, frozen=10**9, forward=30 * 10**9, step=90 * 10**9, saved=0, copies=0)
#: Two blocks of a million values; a step of d of them takes 10 + 90 d GFLOP an image.
COST = CostModel(
    num_layers=2,
    stem=Part(parameters=500_000, frozen=0, forward=5 * 10**9, step=10 * 10**9, saved=0, copies=0),
    first=BLOCK,
    block=BLOCK,
    exit=Part(0, 0, 0, 0, 0, 0),
    through=Part(0, 0, 0, 0, 0, 0),
    boundary=0,
    input_bytes=0,
    states=3,
)
TABLET = DeviceConfig(gflops=100, download_mbps=80, upload_mbps=20, memory_mb=2000)
QUICK = DeviceConfig(gflops=1900, download_mbps=240, upload_mbps=120, memory_mb=9000)
WORK = Workload(layers=2, images=10, steps=1, seen=10, traffic=Traffic(10**7, 10**7))

numbers = st.floats(1e-3, 1e6)
devices = st.builds(DeviceConfig, numbers, numbers, numbers, numbers)
traffics = st.builds(Traffic, st.integers(0, 10**12), st.integers(0, 10**12))
works = st.integers(0, 10**18)


def test_a_round_of_two_blocks_by_hand() -> None:
    """2.5 million values are 80 Mbit; ten images take 1900 GFLOP."""
    found = duration(TABLET, Traffic(10**7, 10**7), WORK.flops(COST))
    assert found == Duration(download=pytest.approx(1.0), training=pytest.approx(19.0), upload=pytest.approx(4.0))
    assert found.total == pytest.approx(24.0)


@given(devices, traffics, works, st.floats(1, 1000))
def test_more_arithmetic_a_second_is_never_slower(
    device: DeviceConfig, traffic: Traffic, flops: int, by: float
) -> None:
    faster = replace(device, gflops=by * device.gflops)
    assert duration(faster, traffic, flops).total <= duration(device, traffic, flops).total


@given(devices, traffics, works)
def test_half_the_bandwidth_doubles_the_transfer(device: DeviceConfig, traffic: Traffic, flops: int) -> None:
    whole = duration(device, traffic, flops)
    half = replace(device, download_mbps=device.download_mbps / 2, upload_mbps=device.upload_mbps / 2)
    halved = duration(half, traffic, flops)
    assert (halved.download, halved.upload) == pytest.approx((2 * whole.download, 2 * whole.upload))
    assert halved.training == whole.training


@given(st.dictionaries(st.integers(0, 999), st.floats(0.001, 1e6), min_size=1), st.floats(0.1, 10), st.randoms())
def test_the_order_of_clients_decides_nothing(seconds: dict[int, float], deadline: float, random: Any) -> None:
    shuffled = random.sample(list(seconds), len(seconds))
    config = FleetConfig(round_deadline=deadline)
    first = respond(config, list(seconds), 0, 1, list(seconds.values()))
    second = respond(config, shuffled, 0, 1, [seconds[client] for client in shuffled])
    assert (sorted(first.late), first.seconds) == (sorted(second.late), second.seconds)
    assert first.duration(set(first.late)) == second.duration(set(second.late))


def test_devices_are_dealt_as_depths_are_and_change_none() -> None:
    fleet = FleetConfig(depths=[4, 2, 1], num_clients=7, devices=["phone", "laptop"])
    dealt = Fleet(ExperimentConfig(fleet=fleet), ("a", "b", "c"))
    assert [dealt.device(client) for client in range(5)] == ["phone", "laptop", "phone", "laptop", "phone"]
    assert dealt.depths(1).tolist() == [4, 2, 1, 4, 2, 1, 4]


def test_shipped_profiles_are_plausible() -> None:
    assert set(shipped()) == {"phone", "laptop", "edge_gpu", "workstation"}
    for name, profile in shipped().items():
        check(ExperimentConfig(fleet=FleetConfig(devices=[name], profiles={name: profile})))
        assert 10 <= profile.gflops <= 100_000
        assert 1 <= profile.upload_mbps <= profile.download_mbps <= 1000
        assert 1000 <= profile.memory_mb <= 100_000
    by_speed = sorted(shipped(), key=lambda name: shipped()[name].gflops)
    assert by_speed == ["phone", "laptop", "edge_gpu", "workstation"]


def test_a_profile_of_one_s_own_goes_before_the_shipped_one() -> None:
    fleet = FleetConfig(devices=["tablet", "phone", "tablet"], profiles={"tablet": TABLET, "phone": QUICK, "x": TABLET})
    assert profiles(fleet)["phone"] == QUICK
    assert profiles(fleet)["laptop"] == shipped()["laptop"]
    assert with_profiles(fleet).profiles == {"phone": QUICK, "tablet": TABLET}
    assert with_profiles(FleetConfig()) == FleetConfig()


def test_profiles_are_settings() -> None:
    tablet = "{tablet:{gflops:50,download_mbps:30,upload_mbps:5,memory_mb:3000}}"
    overrides = ["fleet.devices=[tablet,phone]", f"+fleet.profiles={tablet}"]
    fleet = compose_named("config", ExperimentConfig, overrides).fleet
    assert fleet.profiles == {"tablet": DeviceConfig(50, 30, 5, 3000)}
    check(ExperimentConfig(fleet=fleet))


@pytest.mark.parametrize(
    "profile", ["{gflops:50}", "{gflops:50,download_mbps:3,upload_mbps:5,memory_mb:3,cores:4}", "3"]
)
def test_a_profile_with_other_numbers_is_refused(profile: str) -> None:
    with pytest.raises(SettingError, match=r"^\+fleet\.profiles=") as refusal:
        compose_named("config", ExperimentConfig, [f"+fleet.profiles={{tablet:{profile}}}"])
    assert "\n" not in str(refusal.value)


KNOWN = "each one of edge_gpu, laptop, phone, tablet, workstation; fleet.profiles adds others"


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (["phone", "fridge"], {}, rf"^fleet\.devices=\['phone', 'fridge'\]: must name at least one device, {KNOWN}$"),
        ([], {}, rf"^fleet\.devices=\[\]: must name at least one device, {KNOWN}$"),
        ("phone", {}, r"^fleet\.devices=phone: must be a list, every item text or null$"),
        (None, {"gflops": 0.0}, r"^fleet\.profiles\.tablet\.gflops=0.0: must be greater than 0$"),
        (None, {"upload_mbps": float("nan")}, r"^fleet\.profiles\.tablet\.upload_mbps=nan: must be greater than 0$"),
        (
            None,
            {"download_mbps": float("inf")},
            r"^fleet\.profiles\.tablet\.download_mbps=inf: must be a finite number",
        ),
        (None, {"memory_mb": "much"}, r"^fleet\.profiles\.tablet\.memory_mb=much: must be a number$"),
    ],
)
def test_what_is_no_device_is_refused_in_one_line(names: Any, changes: dict[str, Any], message: str) -> None:
    fleet = FleetConfig(devices=names, profiles={"tablet": replace(TABLET, **changes)})
    with pytest.raises(SettingError, match=message):
        check(ExperimentConfig(fleet=fleet))


def planned(*names: str, **changes: Any) -> ExperimentConfig:
    fleet = FleetConfig(devices=list(names), profiles={"tablet": TABLET, "quick": QUICK}, **changes)
    return ExperimentConfig(fleet=fleet, rounds=10)


def drawn(number: int, cohort: list[int]) -> DrawnRound:
    """A round of these clients, whatever they hold."""
    return DrawnRound(number, cohort, [2] * len(cohort), np.ones((len(cohort), 4), dtype=bool))


def test_a_plan_has_the_slowest_client_of_every_device_by_hand() -> None:
    """One block is 1.5 million values, 48 Mbit, and 100 GFLOP an image."""
    config = planned("tablet", "quick")
    clients = [WORK, WORK, Workload(layers=1, images=100, steps=4, seen=100, traffic=Traffic(6 * 10**6, 6 * 10**6))]
    found = simulate(COST, [clients], [drawn(1, [0, 1, 2])], Fleet(config, ("a",)), config)
    assert found is not None
    tablet, quick = found.devices
    assert (tablet.device, tablet.clients) == ("tablet", 2)
    assert tablet.slowest == Duration(pytest.approx(0.6), pytest.approx(100.0), pytest.approx(2.4))
    assert (tablet.memory, tablet.budget, tablet.fits) == (COST.memory(2, 10), 2e9, False)
    assert (quick.device, quick.clients, quick.fits) == ("quick", 1, True)
    assert quick.slowest.total == pytest.approx(80 / 240 + 1 + 80 / 120)
    assert found.seconds == pytest.approx(10 * 103.0)


def test_a_plan_averages_rounds_of_other_cohorts() -> None:
    config = planned("tablet", "quick")
    rounds = [[WORK, WORK], [WORK]]
    both, fast = drawn(1, [0, 1]), drawn(2, [1])
    found = simulate(COST, rounds, [both, fast], Fleet(config, ("a",)), config)
    alone = [
        simulate(COST, [own], [each], Fleet(config, ("a",)), config)
        for own, each in zip(rounds, (both, fast), strict=True)
    ]
    assert found is not None
    assert [(share.device, share.clients) for share in found.devices] == [("tablet", 0.5), ("quick", 1)]
    assert found.seconds == pytest.approx(sum(one.seconds for one in alone if one) / 2)


def test_a_plan_knows_the_deadline() -> None:
    """The median of 24 and 2 seconds is 13."""
    config = planned("tablet", "quick", round_deadline=1.5)
    found = simulate(COST, [[WORK, WORK]], [drawn(1, [0, 1])], Fleet(config, ("a",)), config)
    assert found is not None
    assert found.seconds == pytest.approx(10 * 1.5 * 13)


def test_a_device_fits_what_it_has_room_for() -> None:
    share = DeviceShare("x", 1, Duration(0, 0, 0), memory=2_000_000_000, budget=2e9)
    assert share.fits
    assert not replace(share, memory=2_000_000_001).fits


def test_a_plan_without_devices_simulates_none(config: ExperimentConfig) -> None:
    assert plan_experiment(PlannedExperiment(**vars(config), plan=PlanConfig())).simulation is None


def finish(config: ExperimentConfig, folder: Path) -> tuple[bytes, list[dict[str, Any]], list[dict[str, Any]]]:
    """The final adapter, and the rows of rounds and clients, without wall times."""
    folder.mkdir()
    blueprint, weights = check_experiment(config)
    *_, outcome = run(blueprint, ClientHost(blueprint, weights), Journal(Folder(folder), config))
    assert isinstance(outcome, Outcome)
    tables = [pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("rounds", "clients")]
    rounds, clients = ([{k: v for k, v in row.items() if k != "seconds"} for row in rows] for rows in tables)
    assert results.write(Folder(folder), blueprint, outcome)["simulated_hours"] == (
        sum(row["simulated_s"] for row in rounds) / 3600 if config.fleet.devices else None
    )
    return outcome.values.tobytes(), rounds, clients


def with_devices(config: ExperimentConfig, *names: str, **changes: Any) -> ExperimentConfig:
    known = {"tablet": TABLET, "quick": QUICK}
    return replace(config, fleet=replace(config.fleet, devices=list(names), profiles=known, **changes))


def test_devices_add_times_and_change_nothing_else(config: ExperimentConfig, tmp_path: Path) -> None:
    config.fleet = replace(config.fleet, num_clients=6, dropout=0.3, straggler_spread=1.0)
    values, rounds, clients = finish(config, tmp_path / "without")
    assert {row.pop("simulated_s") for row in (*rounds, *clients)} == {None}
    again, timed_rounds, timed_clients = finish(with_devices(config, "tablet", "quick"), tmp_path / "with")
    assert all(row.pop("simulated_s") > 0 for row in (*timed_rounds, *timed_clients))
    assert (again, timed_rounds, timed_clients) == (values, rounds, clients)


@pytest.mark.parametrize(
    "method", ["fedra.FedRA", "depthfl.DepthFL", "headonly.HeadOnly"], ids=lambda name: name.split(".")[1]
)
@pytest.mark.parametrize("patch_embedding", [False, True])
def test_a_client_s_time_is_that_of_its_bytes_and_steps(
    method: str, patch_embedding: bool, config: ExperimentConfig, tmp_path: Path
) -> None:
    config.method, config.lora.patch_embedding = (
        MethodConfig("x", target=f"fedra_ray.methods.{method}"),
        patch_embedding,
    )
    config.training.max_steps, config.training.batch_size = None, 5
    endless = DeviceConfig(gflops=1e30, download_mbps=1e30, upload_mbps=1e30, memory_mb=1)
    config.fleet.devices = ["it"]

    config.fleet.profiles = {"it": replace(endless, download_mbps=16.0, upload_mbps=8.0)}
    _, rounds, clients = finish(config, tmp_path / "transfer")
    for row in clients:
        assert row["simulated_s"] == pytest.approx(row["bytes_down"] / 2e6 + row["bytes_up"] / 1e6)
    for row in rounds:
        slowest = max(each["simulated_s"] for each in clients if each["round"] == row["round"])
        assert row["simulated_s"] == slowest

    config.fleet.profiles = {"it": replace(endless, gflops=0.001)}
    _, _, clients = finish(config, tmp_path / "training")
    cost = check_experiment(config)[0].cost
    assert cost is not None
    for row in clients:
        heads = {"depthfl.DepthFL": {4: 3, 2: 2, 1: 1}[row["depth"]]}.get(method, 1)
        passed = Passed(before=4 if method == "headonly.HeadOnly" else 0)
        flops = cost.step_flops(len(row["layers"]), heads, passed)
        assert row["simulated_s"] == pytest.approx(24 * flops / 1e6)  # every client has 24 images


def test_a_deadline_shuts_out_the_slow_device(config: ExperimentConfig, tmp_path: Path) -> None:
    config.method = shipped_method("headonly")  # equal work for all
    _, _, clients = finish(with_devices(config, "tablet", "quick", "quick"), tmp_path / "patient")
    usual = {row["client"]: row["simulated_s"] for row in clients}
    hurried = with_devices(config, "tablet", "quick", "quick", round_deadline=1.5)
    _, rounds, clients = finish(hurried, tmp_path / "hurried")
    assert usual[1] == usual[2] < usual[0] / 1.5
    assert [(row["cohort"], row["late"]) for row in rounds] == [([0, 1, 2], [0])] * 2
    assert [row["simulated_s"] for row in rounds] == pytest.approx([1.5 * usual[1]] * 2)
    assert {row["client"] for row in clients} == {1, 2}


def test_a_run_states_the_numbers_of_its_devices(config: ExperimentConfig) -> None:
    config.fleet.devices = ["phone", "laptop"]
    fleet = check_experiment(config)[0].config.fleet
    assert fleet.profiles == {name: shipped()[name] for name in ("laptop", "phone")}
    assert fleet.depths == [4, 2, 1]
