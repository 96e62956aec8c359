import json
from pathlib import Path

import pytest

from analysis.study import __main__ as study
from analysis.study import album, stages, tables
from fedra_ray.cli.compose import compose_named
from fedra_ray.config.errors import SettingError
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


def test_a_study_of_some_methods_tunes_those_and_what_its_stages_compare_with() -> None:
    assert stages.compared(["DepthFL", "AllLarge"], ["methods"]) == ["AllLarge", "DepthFL"]
    assert stages.compared(["DepthFL"], ["methods", "extreme"]) == ["FedRA", "DepthFL", "Head only"]
    scores = {f"DepthFL-{rate}": {"mean_accuracy": score} for rate, score in ((0.1, 1), (0.3, 3), (1.0, 2))}
    best = study.best_rates(scores, ["DepthFL"], [0.1, 0.3, 1.0])
    assert best == {"DepthFL": 0.3}
    for stage in (stages.methods, stages.fleets):
        assert all(key.startswith("DepthFL") for key in stage(Path("/out"), best, SEEDS))


def test_learning_rates_of_another_study_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    rates = (0.1, 0.3)
    for rate, accuracy in zip(rates, (0.1, 0.3), strict=True):
        run = tmp_path / "tune" / f"head-only-{rate}"
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps({"mean_accuracy": accuracy}))
    tuned = study.tuned_in(tmp_path, ["Head only"], rates)
    assert study.best_rates(tuned, ["Head only"], rates) == {"Head only": 0.3}
    with pytest.raises(SettingError, match="a study that tuned FedRA"):
        study.tuned_in(tmp_path, ["Head only", "FedRA"], rates)


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


def test_the_table_has_mean_and_deviation_over_seeds() -> None:
    summaries = {
        f"{method}/{seed}": {"accuracy": {"a": 0.1 * seed}, "mean_accuracy": 0.5}
        for method in stages.METHODS
        for seed in (2, 0, 1)
    }
    table = tables.results(summaries, BEST)
    assert table["seed"].to_pylist()[:3] == [0, 1, 2]
    header, _, first, *_ = tables.markdown(table).splitlines()
    assert [cell.strip() for cell in header.split("|")] == ["", "method", "a", "mean", ""]
    assert [cell.strip() for cell in first.split("|")] == ["", "AllLarge", "10.0 ± 10.0", "50.0 ± 0.0", ""]


def test_the_table_of_fleets_has_those_that_were_run(tmp_path: Path) -> None:
    accuracies = {"DepthFL extreme3": (0.1, 0.3), "DepthFL dynamic": (0.5, 0.5), "AllSmall dynamic": (0.0, 0.2)}
    summaries = {
        f"{cell}/{seed}": {"mean_accuracy": mean}
        for cell, means in accuracies.items()
        for seed, mean in enumerate(means)
    }
    tables.write(summaries, {"DepthFL": 0.1, "AllSmall": 0.3}, tmp_path)
    assert not (tmp_path / "results.md").exists()
    header, _, *rows = (tmp_path / "fleets.md").read_text(encoding="utf-8").splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["method", "extreme3", "dynamic"]
    assert [cell.strip() for cell in rows[0].split("|")[1:-1]] == ["DepthFL", "20.0 ± 14.1", "50.0 ± 0.0"]
    assert [cell.strip() for cell in rows[1].split("|")[1:-1]] == ["AllSmall", "", "10.0 ± 14.1"]
    assert "- AllSmall: `training.lr=0.3 training.head_lr=0.3`" in rows


def test_the_album_takes_the_runs_of_each_plate(tmp_path: Path) -> None:
    for name in ("fedra-0", "fedra-1", "inclusivefl-0", "inclusivefl-no-distillation-0", "depthfl-0"):
        (tmp_path / "test" / name).mkdir(parents=True)
    found = album.of_study(tmp_path, {"test": ("fedra-0", "inclusivefl")})
    assert [Path(each).name for each in found] == ["fedra-0", "inclusivefl-0"]


def test_the_album_leaves_out_what_was_not_run(tmp_path: Path) -> None:
    assert album.fill(tmp_path) == 0
    assert not (tmp_path / "figures" / "methods.md").exists()
