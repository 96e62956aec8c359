import json
from pathlib import Path

import pytest

from analysis.study import __main__ as study
from analysis.study import album
from fedra_ray.cli.compose import compose_named
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig

BEST = dict.fromkeys(study.METHODS, study.GRID[0])
STAGES = {name: stage(Path("/out"), BEST) for name, stage in study.STAGES.items()}
ALL = STAGES | {"tuning": study.tuning(Path("/out"), list(study.METHODS))}


def config(overrides: list[str]) -> ExperimentConfig:
    return compose_named("config", ExperimentConfig, [*study.RECORDED, *overrides])


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_every_cell_with_every_seed_in_a_folder_of_its_own(stage: str) -> None:
    runs = STAGES[stage]
    folders = {next(setting for setting in own if setting.startswith("run_dir=")) for own in runs.values()}
    assert len(folders) == len(runs)
    assert {int(key.rsplit("/", 1)[1]) for key in runs} == set(study.DEPTHS)
    assert len(runs) % len(study.DEPTHS) == 0


@pytest.mark.parametrize("stage", ALL)
def test_a_setting_of_the_command_line_holds_in_every_stage(stage: str) -> None:
    overrides = study.complete(ALL[stage], ["backbone=glyph_mixer"], ["rounds=2"])
    configured = config(next(iter(overrides.values())))
    assert (configured.backbone.name, configured.rounds) == ("glyph_mixer", 2)


@pytest.mark.parametrize(
    ("stage", "key"), [("methods", "DepthFL/1"), ("extreme", "prefix 3/2"), ("convergence", "balanced mild/2")]
)
def test_runs_are_experiments(stage: str, key: str) -> None:
    found = config(STAGES[stage][key])
    assert found.seed == int(key[-1])
    assert found.checkpoint.keep == 100


def test_a_study_of_some_methods_tunes_those_and_what_its_stages_compare_with() -> None:
    assert study.compared(["DepthFL", "AllLarge"], ["methods"]) == ["AllLarge", "DepthFL"]
    assert study.compared(["DepthFL"], ["methods", "extreme"]) == ["FedRA", "DepthFL", "Head only"]
    best = study.best_settings(
        {f"DepthFL/{i}": {"mean_accuracy": score} for i, score in enumerate((1, 3, 2))}, ["DepthFL"]
    )
    assert best == {"DepthFL": study.GRID[1]}
    assert {key.split("/")[0] for key in study.methods(Path("/out"), best)} == {"DepthFL"}


def test_learning_rates_of_another_study_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    for index, accuracy in enumerate((0.1, 0.3, 0.2)):
        run = tmp_path / "tune" / f"head-only-{index}"
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps({"mean_accuracy": accuracy}))
    assert study.best_settings(study.tuned_in(tmp_path, ["Head only"]), ["Head only"]) == {"Head only": study.GRID[1]}
    with pytest.raises(SettingError, match="a study that tuned FedRA"):
        study.tuned_in(tmp_path, ["Head only", "FedRA"])


def test_the_folder_of_a_study_may_have_any_name() -> None:
    for run in study.methods(Path("/it's, mine=a ${b}"), BEST).values():
        assert config(run).run_dir.startswith("/it's, mine=a ${b}/test/")


def test_the_largest_client_has_the_same_domain_on_every_fleet() -> None:
    depths = [config(STAGES["convergence"][f"uniform {fleet}/1"]).fleet.depths for fleet in study.FLEETS]
    assert depths == [[7, 7, 7, 7, 7, 8], [6, 6, 7, 7, 8, 9], study.DEPTHS[1]]
    assert {sum(each) for each in depths} == {43}


def test_the_table_has_mean_and_deviation_over_seeds() -> None:
    summaries = {
        f"{method}/{seed}": {"accuracy": {"a": 0.1 * seed}, "mean_accuracy": 0.5}
        for method in study.METHODS
        for seed in study.DEPTHS
    }
    header, _, first, *_ = study.markdown(study.results(summaries, BEST)).splitlines()
    assert [cell.strip() for cell in header.split("|")] == ["", "method", "a", "mean", ""]
    assert [cell.strip() for cell in first.split("|")] == ["", "AllLarge", "10.0 ± 10.0", "50.0 ± 0.0", ""]


def test_the_album_takes_the_runs_of_each_plate(tmp_path: Path) -> None:
    for name in ("fedra-0", "fedra-1", "inclusivefl-0", "inclusivefl-no-distillation-0", "depthfl-0"):
        (tmp_path / "test" / name).mkdir(parents=True)
    found = album.of_study(tmp_path, {"test": ("fedra-0", "inclusivefl")})
    assert [Path(each).name for each in found] == ["fedra-0", "inclusivefl-0"]


def test_the_album_leaves_out_what_was_not_run(tmp_path: Path) -> None:
    assert album.fill(tmp_path) == 0
    assert not (tmp_path / "figures" / "methods.md").exists()
