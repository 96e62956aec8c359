from pathlib import Path

import pytest

from analysis.study import stages
from fedra_ray.cli.compose import compose_named
from fedra_ray.config.schema import ExperimentConfig

SEEDS = (1, 2, 4)
BEST = dict.fromkeys(stages.METHODS, stages.RATES[0])
STAGES = {name: stage(Path("/out"), BEST, SEEDS) for name, stage in stages.STAGES.items()}
ALL = STAGES | {"tuning": stages.tuning(Path("/out"), stages.METHODS, stages.RATES)}


def config(overrides: list[str]) -> ExperimentConfig:
    return compose_named("config", ExperimentConfig, [*stages.RECORDED, *overrides])


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_every_cell_with_every_seed_in_a_folder_of_its_own(stage: str) -> None:
    runs = STAGES[stage]
    folders = {next(setting for setting in own if setting.startswith("run_dir=")) for own in runs.values()}
    assert len(folders) == len(runs)
    assert {int(key.rsplit("/", 1)[1]) for key in runs} == set(SEEDS)
    assert len(runs) % len(SEEDS) == 0


@pytest.mark.parametrize("stage", ALL)
def test_a_setting_of_the_command_line_holds_in_every_stage(stage: str) -> None:
    overrides = stages.complete(ALL[stage], ["backbone=glyph_mixer"], ["rounds=2"])
    configured = config(next(iter(overrides.values())))
    assert (configured.backbone.name, configured.rounds) == ("glyph_mixer", 2)


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("methods", "DepthFL/1"),
        ("fleets", "DepthFL dynamic/4"),
        ("extreme", "prefix 3/2"),
        ("convergence", "balanced mild/2"),
    ],
)
def test_runs_are_experiments(stage: str, key: str) -> None:
    found = config(STAGES[stage][key])
    assert found.seed == int(key[-1])
    assert found.checkpoint.keep == 100


def test_seeds_give_every_domain_other_depths() -> None:
    assert all(sorted(depths) == sorted(stages.DEPTHS[0]) for depths in stages.DEPTHS.values())
    assert all(len(set(places)) == len(stages.DEPTHS) for places in zip(*stages.DEPTHS.values(), strict=True))


def test_the_folder_of_a_study_may_have_any_name() -> None:
    for run in stages.methods(Path("/it's, mine=a ${b}"), BEST, SEEDS).values():
        assert config(run).run_dir.startswith("/it's, mine=a ${b}/test/")


def test_the_largest_client_has_the_same_domain_on_every_fleet() -> None:
    depths = [config(STAGES["convergence"][f"uniform {fleet}/1"]).fleet.depths for fleet in stages.FLEETS]
    assert depths == [[7, 7, 7, 7, 7, 8], [6, 6, 7, 7, 8, 9], stages.DEPTHS[1]]
    assert {sum(each) for each in depths} == {43}


def test_stages_compare_what_is_asked_for_and_what_they_need() -> None:
    assert stages.compared(["DepthFL", "AllLarge"], ["methods"]) == ["AllLarge", "DepthFL"]
    assert stages.compared(["DepthFL"], ["methods", "extreme"]) == ["FedRA", "DepthFL", "Head only"]
    for stage in (stages.methods, stages.fleets):
        assert all(key.startswith("DepthFL") for key in stage(Path("/out"), {"DepthFL": 0.1}, SEEDS))
