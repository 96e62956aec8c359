"""Plans of made-up costs are checked by hand; the drawn ones against the miniature world."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedra_ray.cli.main import main
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import (
    BackboneConfig,
    EvaluationConfig,
    ExperimentConfig,
    PartitionConfig,
    RuntimeConfig,
    TrainingConfig,
)
from fedra_ray.cost.law import CostModel, Part, Passed
from fedra_ray.cost.plan import PROCESS_BYTES, PlanConfig, PlannedExperiment, plan, plan_experiment
from fedra_ray.cost.workload import Workload, describe
from fedra_ray.federation.allocation import Coverage
from fedra_ray.federation.steps import step_bound
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.allsmall import AllSmall
from fedra_ray.methods.depthfl import DepthFL
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.headonly import HeadOnly
from fedra_ray.methods.method import Problem

NOTHING = Part(0, 0, 0, 0, 0, 0)
#: A step of d blocks takes 10 + 90 d GFLOP an image and keeps 100 d MB of an image; a block has a million values.
COST = CostModel(
    num_layers=4,
    stem=Part(parameters=500_000, frozen=0, forward=5 * 10**9, step=10 * 10**9, saved=0, copies=0),
    first=Part(parameters=10**6, frozen=10**9, forward=30 * 10**9, step=90 * 10**9, saved=10**8, copies=0),
    block=Part(parameters=10**6, frozen=10**9, forward=30 * 10**9, step=90 * 10**9, saved=10**8, copies=0),
    exit=NOTHING,
    through=Part(0, 0, 0, 0, 0, 0),
    boundary=0,
    input_bytes=0,
    states=3,
)
CLIENTS = [
    Workload(layers=4, images=20, steps=2, seen=20, traffic=Traffic(18 * 10**6, 9 * 10**6)),
    Workload(layers=1, images=30, steps=3, seen=30, traffic=Traffic(6 * 10**6, 5 * 10**6)),
    Workload(layers=1, images=10, steps=1, seen=10, traffic=Traffic(4 * 10**6, 7 * 10**6)),
]
COVERED = Coverage(0, 0)


def configured(num_gpus: float = 0.5) -> ExperimentConfig:
    return ExperimentConfig(
        training=TrainingConfig(batch_size=10, max_steps=None),
        evaluation=EvaluationConfig(every=4),
        runtime=RuntimeConfig(num_gpus=num_gpus),
        rounds=10,
    )


def test_a_tier_by_hand() -> None:
    deep, shallow = plan(COST, [CLIENTS], COVERED, configured(), PlanConfig()).tiers
    assert (deep.layers, deep.clients, deep.steps) == (4, 1, 2)
    assert deep.parameters == 4_500_000
    assert deep.traffic == (18_000_000, 9_000_000)
    assert deep.flops == 20 * 370e9
    assert deep.memory == 4 * 10**9 + 12 * 4_500_000 + 10 * 500 * 10**6
    assert (shallow.layers, shallow.clients, shallow.steps) == (1, 2, 2)
    assert shallow.traffic == (6_000_000, 7_000_000)
    assert shallow.flops == (30 + 10) / 2 * 100e9
    assert shallow.memory == 10**9 + 12 * 1_500_000 + 10 * 200 * 10**6


def test_rounds_of_other_clients_are_averaged() -> None:
    found = plan(COST, [CLIENTS, CLIENTS[1:], CLIENTS[1:2]], COVERED, configured(), PlanConfig(tflops=1))
    deep, shallow = found.tiers
    assert (deep.clients, shallow.clients) == (1 / 3, 5 / 3)
    assert shallow.flops == (3 * 30 + 2 * 10) / 5 * 100e9
    assert found.round_bytes == (27 + 3 * 11 + 2 * 11) * 10**6 / 3
    assert found.round_flops == (20 * 370e9 + (3 * 30 + 2 * 10) * 100e9) / 3


def test_a_batch_is_no_larger_than_the_client() -> None:
    (tier,) = plan(COST, [[Workload(layers=1, images=3, steps=1, seen=3)]], COVERED, configured(), PlanConfig()).tiers
    assert tier.memory == COST.memory(1, 3)


def test_totals_by_hand() -> None:
    found = plan(COST, [CLIENTS], COVERED, configured(), PlanConfig(tflops=0.5), evaluation_flops=10**12)
    assert found.round_bytes == (18 + 9 + 6 + 5 + 4 + 7) * 10**6
    assert found.round_flops == 7.4e12 + 3e12 + 1e12
    assert found.evaluations == 3  # after rounds 4, 8 and 10
    assert found.evaluation_flops == 3e12
    assert found.seconds == pytest.approx((10 * 11.4 + 3) / 0.5)


def test_devices_share_the_work_but_not_a_client() -> None:
    def seconds(devices: int) -> float:
        return plan(COST, [CLIENTS], COVERED, configured(), PlanConfig(tflops=1, devices=devices)).seconds

    assert seconds(1) == pytest.approx(10 * 11.4)
    assert seconds(3) == seconds(2) == pytest.approx(10 * 7.4)


def test_slots_that_share_a_gpu_must_fit_it_together() -> None:
    def slots(gigabytes: float) -> list[tuple[float, int, bool]]:
        tiers = plan(COST, [CLIENTS], COVERED, configured(), PlanConfig(gpu_memory_gb=gigabytes)).tiers
        return [(tier.gpu_share, tier.slots_per_gpu, tier.fits) for tier in tiers]

    deep = 4 * 10**9 + 12 * 4_500_000 + 10 * 500 * 10**6 + PROCESS_BYTES
    shallow = 4 * 10**9 + 12 * 1_500_000 + 10 * 200 * 10**6 + PROCESS_BYTES
    assert slots(2 * deep / 1e9) == [(0.5, 2, True), (0.125, 8, False)]
    assert slots(2 * deep / 1e9 - 0.001) == [(0.5, 2, False), (0.125, 8, False)]
    assert slots(8 * shallow / 1e9) == [(0.5, 2, True), (0.125, 8, True)]


def test_slots_without_gpus_reserve_none() -> None:
    tiers = plan(COST, [CLIENTS], COVERED, configured(num_gpus=0), PlanConfig()).tiers
    assert [(tier.gpu_share, tier.slots_per_gpu) for tier in tiers] == [(0, 0)] * 2


@pytest.mark.parametrize(
    ("images", "changes", "expected"),
    [
        (25, {}, (3, 25)),
        (25, {"local_epochs": 2}, (6, 50)),
        (25, {"max_steps": 2}, (2, 20)),
        (25, {"local_epochs": 2, "max_steps": 4}, (4, 35)),
        (25, {"step_cap": "cohort"}, (2, 20)),
        (25, {"step_cap": "cohort", "extra_step": True}, (3, 25)),
        (25, {"step_cap": "fleet", "max_steps": 1, "extra_step": True}, (1, 10)),
        (25, {"step_cap": "fleet", "local_epochs": 2}, (4, 35)),
        (4, {"local_epochs": 3}, (3, 12)),
        (20, {}, (2, 20)),
    ],
)
def test_local_steps(images: int, changes: dict[str, object], expected: tuple[int, int]) -> None:
    training = replace(TrainingConfig(batch_size=10, max_steps=None), **changes)
    bound = step_bound(training, np.array([images, 13]), [0, 1])
    client = describe(FedRA(Problem(4, (4,))), [0, 1, 2, 3], images, bound, training)
    assert (client.steps, client.seen) == expected


def test_a_client_that_trains_no_block_runs_them_all() -> None:
    training = TrainingConfig(batch_size=10)
    depthfl, headonly = DepthFL(Problem(4, (4, 2, 1))), HeadOnly(Problem(4, (4,)))
    assert describe(depthfl, [0, 1, 2], 20, 20, training) == Workload(3, 20, 2, 20, heads=2)
    assert describe(headonly, [], 20, 20, training) == Workload(0, 20, 2, 20, heads=1, passed=Passed(before=4))


def test_coverage_is_exact_for_fedra_and_counted_for_others() -> None:
    nobody_has_the_last = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)
    assert FedRA(Problem(4, (2,))).coverage([2, 2], nobody_has_the_last) == Coverage(4 / 4, 5 / 6)
    assert FedRA(Problem(4, (2,)), draw="covering").coverage([2, 2], nobody_has_the_last) == Coverage(0, 0)
    assert DepthFL(Problem(4, (4, 2))).coverage([2, 2], nobody_has_the_last) == Coverage(1, None)
    assert AllSmall(Problem(4, (4, 2))).coverage([2, 4], nobody_has_the_last) == Coverage(0, None)


@pytest.fixture
def planned(config: ExperimentConfig) -> PlannedExperiment:
    """The miniature experiment, to be planned."""
    return PlannedExperiment(**vars(config), plan=PlanConfig())


def test_the_miniature_world_is_planned_from_its_data(planned: PlannedExperiment) -> None:
    planned.training.max_steps = None
    found = plan_experiment(planned)
    assert [(tier.layers, tier.clients, tier.steps) for tier in found.tiers] == [(4, 1, 3), (2, 1, 3), (1, 1, 3)]
    head = 3 * 16 + 3
    block = 8 * (16 + 16) + 8 * (64 + 16)
    assert [tier.parameters for tier in found.tiers] == [head + depth * block for depth in (4, 2, 1)]
    assert found.evaluations == 1
    assert found.data == ("3 domains, 3 classes, 72 train, 18 validation, 18 test images",)
    assert 3 * 6 * found.tiers[0].flops / 24 / 3 < found.evaluation_flops < 3 * 6 * found.tiers[0].flops / 24
    assert found.coverage == COVERED


def test_a_fleet_larger_than_the_data_set_is_planned(planned: PlannedExperiment) -> None:
    planned.training.max_steps, planned.training.batch_size = None, 4
    planned.partition = PartitionConfig("lazy", "lazy", examples_per_client=9)
    planned.fleet = replace(planned.fleet, num_clients=100_000, clients_per_round=50)
    found = plan_experiment(planned)
    assert sum(tier.clients for tier in found.tiers) == 50
    assert {tier.steps for tier in found.tiers} == {3}


def test_budgets_of_memory_become_depths(planned: PlannedExperiment) -> None:
    deepest, middle, shallowest = plan_experiment(planned).tiers
    planned.fleet = replace(planned.fleet, memory_mb=[shallowest.memory / 1e6, deepest.memory / 1e6])
    assert [(tier.layers, tier.clients) for tier in plan_experiment(planned).tiers] == [(4, 1), (1, 2)]
    assert shallowest.memory < middle.memory < deepest.memory


def test_a_missing_data_set_needs_two_settings_instead(planned: PlannedExperiment) -> None:
    planned.dataset.root = "nowhere.parquet"
    with pytest.raises(SettingError, match=r"dataset.root=nowhere.parquet.*plan.examples and plan.classes") as refusal:
        plan_experiment(planned)
    assert refusal.value.args[:2] == ("plan.examples", None)
    planned.plan.examples = 40
    with pytest.raises(SettingError, match="cannot be opened") as refusal:
        plan_experiment(planned)
    assert refusal.value.args[:2] == ("plan.classes", None)
    planned.plan.classes, planned.training.max_steps = 3, None
    found = plan_experiment(planned)
    assert [tier.steps for tier in found.tiers] == [5, 5, 5]
    assert found.evaluation_flops == 0


def test_settings_of_the_plan_go_before_the_data_set(planned: PlannedExperiment) -> None:
    planned.training.max_steps = None
    planned.plan = PlanConfig(examples=9, classes=100)
    found = plan_experiment(planned)
    assert [tier.steps for tier in found.tiers] == [2, 2, 2]
    assert (
        found.tiers[0].parameters - plan_experiment(replace(planned, plan=PlanConfig())).tiers[0].parameters == 97 * 17
    )


@pytest.mark.parametrize("name", ["tflops", "gpu_memory_gb", "devices", "examples", "classes"])
def test_nothing_that_a_plan_assumes_is_zero(name: str, planned: PlannedExperiment) -> None:
    setattr(planned.plan, name, 0)
    with pytest.raises(SettingError, match="greater than 0") as refusal:
        plan_experiment(planned)
    assert refusal.value.args[:2] == (f"plan.{name}", 0)


def test_a_plan_needs_no_weights(planned: PlannedExperiment) -> None:
    planned.backbone.checkpoint = None
    before = plan_experiment(planned)
    planned.backbone.pretrained = True
    assert plan_experiment(planned) == before


def test_the_command_prints_a_plan_and_runs_nothing(
    world: Path, vit_config: BackboneConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = [
        "dataset=parquet",
        f"dataset.root={world / 'shapes.parquet'}",
        *(f"++backbone.model_args.{name}={value}" for name, value in vit_config.model_args.items()),
        "fleet.depths=[2,1]",
        "fleet.num_clients=3",
        "runtime.num_gpus=0.5",
        "rounds=2",
        f"run_dir={tmp_path / 'run'}",
    ]
    assert main(["plan", *overrides, "plan.tflops=2", "plan.devices=3", "dataset.options.classes=[square,2]"]) == 0
    out = capfd.readouterr().out
    assert out.startswith(
        "parquet: 3 domains, 2 classes, 48 train, 12 validation, 12 test images\nparquet: takes 2 of 3 classes\n"
    )
    assert "FedRA with glyph_vit, 2 rounds" in out
    assert "3 devices of 2 TFLOP/s" in out
    assert "fits 24 GB" in out
    assert "0.75 expected; at least one in 67% of rounds" in out
    assert not (tmp_path / "run").exists()
    assert "simulated" not in out
    assert main(["plan", *overrides, "fleet.devices=[laptop,phone]"]) == 0
    out = capfd.readouterr().out
    assert "per simulated device and round" in out
    assert out.index("phone") < out.index("laptop")
    assert "time on simulated devices" in out
    assert main(["plan", *overrides, "plan.tflops=-1"]) == 2
    assert capfd.readouterr().err == "error: plan.tflops=-1.0: must be greater than 0\n"


def test_planning_needs_no_ray() -> None:
    code = "import sys, fedra_ray.cost.plan, fedra_ray.cost.tables; print('ray' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
