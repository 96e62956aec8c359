"""The grid that the command line of a sweep means."""

import re
from pathlib import Path

import pytest

from fedra_ray.cli.compose import compose_experiment
from fedra_ray.cli.grid import compose_grid
from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder


def test_a_grid_has_a_run_for_every_combination_in_a_folder_of_its_own() -> None:
    grid = compose_grid(["method=fedra,alllarge", "seed=0,1", "rounds=3", "run_dir=/shared/grid", "sweep.parallel=2"])
    assert (grid.folder, grid.parallel) == ("/shared/grid", 2)
    assert [(run.config.method.name, run.config.seed) for run in grid.runs] == [
        ("fedra", 0),
        ("fedra", 1),
        ("alllarge", 0),
        ("alllarge", 1),
    ]
    assert {run.config.rounds for run in grid.runs} == {3}
    assert [run.config.run_dir for run in grid.runs] == [f"/shared/grid/{run.name}" for run in grid.runs]
    assert grid.runs[1].name == "method=fedra,seed=1"


def test_lists_and_groups_vary_too_and_names_stay_one_folder() -> None:
    grid = compose_grid(["fleet.depths=[12,6],[3,3]", "experiment=paper/domainnet_vit_feature_skew,paper/dynamic"])
    assert grid.parallel is None
    assert [run.config.fleet.depths for run in grid.runs[::2]] == [[12, 6], [3, 3]]
    assert all("/" not in run.name for run in grid.runs)
    assert len({run.name for run in grid.runs}) == 4


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        (["seed=0,1", "rounds=0"], "rounds"),
        (["seed=0,-1"], "seed"),
        (["method=fedra,fedavg"], "method"),
        (["sweep.parallel=0"], "sweep.parallel"),
        (["sweep.parallel=many"], "sweep.parallel"),
        (["sweep.parallel=1,2"], "sweep.parallel"),
        (["run_dir=a,b"], "run_dir"),
        (["run_dir=null"], "run_dir"),
        (["run_dir=''"], "run_dir"),
        (["fleet.depths=[4,2"], "fleet.depths"),
        (["seed=3,3"], "seed"),
        (["seed=3,03"], "seed"),
        (["seed=3,'3'"], "seed"),
        (["method=fedra,alllarge", "seed=3,'3'"], "seed"),
        (["method=fedra,'fedra'"], "method"),
        (["fleet.depths=[12,6],[12, 6]"], "fleet.depths"),
        (["seed=1,2", "seed=3"], "seed"),
        (["seed=1", "seed=2,3"], "seed"),
        (["seed=range(5000)", "rounds=1,2,3"], "sweep"),
        (["watch.wandb=a/b,a_b"], "watch.wandb"),
        (["seed=0,1", "run_dir=/a/${seed}"], "run_dir"),
        (["method=fedra,depthfl", "run_dir=/a/${method.name}"], "run_dir"),
        (["runtime.address=auto,local"], "runtime.address"),
        (["runtime.max_actors=1,2"], "runtime.max_actors"),
        (["plan.tflops=1,2"], "plan.tflops"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_any_run(overrides: list[str], setting: str) -> None:
    with pytest.raises(SettingError) as refusal:
        compose_grid(overrides)
    assert refusal.value.args[0] == setting


def test_the_folder_of_a_sweep_may_be_quoted_interpolated_or_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED", "/shared/it's")
    for given, folder in (("'/shared/a, b'", "/shared/a, b"), ("${oc.env:SHARED}/grid", "/shared/it's/grid")):
        grid = compose_grid([f"run_dir={given}", "seed=0,1"])
        assert grid.folder == folder
        assert grid.runs[1].config.run_dir == f"{folder}/seed=1"
    grid = compose_grid(["run_dir='s3://bucket/grid?region=eu'", "seed=0,1"])
    assert grid.runs[1].config.run_dir == "s3://bucket/grid/seed=1?region=eu"


def test_a_time_in_the_folder_of_a_sweep_is_that_of_its_first_run() -> None:
    grid = compose_grid(["run_dir=/a/${now:%H%M%S%f}", "seed=range(9)"])
    assert {run.config.run_dir.rpartition("/")[0] for run in grid.runs} == {grid.folder}


def test_names_of_runs_are_encoded_in_a_uri_alone() -> None:
    overrides = ["fleet.depths=[12,6],[3,3]", "watch.wandb='a b?',c"]
    grid = compose_grid([*overrides, "run_dir='s3://bucket/grid?region=eu'"])
    first = "s3://bucket/grid/fleet.depths=%5B12,6%5D,watch.wandb='a%20b%3F'?region=eu"
    assert grid.runs[0].config.run_dir == first
    assert compose_grid([*overrides, "run_dir=/a"]).runs[0].config.run_dir == (
        "/a/fleet.depths=[12,6],watch.wandb='a b?'"
    )


def test_keys_that_are_added_vary_too() -> None:
    grid = compose_grid(["+method.options.speed=1,2", "++training.lr=0.1,0.2"])
    found = [(run.config.method.options["speed"], run.config.training.lr) for run in grid.runs]
    assert found == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]
    assert grid.runs[0].name == "method.options.speed=1,training.lr=0.1"


def test_a_shuffled_list_is_the_same_in_every_run() -> None:
    grid = compose_grid(["seed=range(9)", "fleet.depths=shuffle([1,2,3,4,5,6,7,8,9])"])
    assert len({str(run.config.fleet.depths) for run in grid.runs}) == 1


def test_a_sweep_without_a_folder_has_a_new_one() -> None:
    grid = compose_grid(["seed=0,1"])
    assert re.fullmatch(r"sweeps/\d{8}-\d{6}-\d{6}", grid.folder)
    assert grid.runs[0].config.run_dir == f"{grid.folder}/seed=0"


def test_a_sweep_may_start_from_the_configuration_of_a_run(tmp_path: Path) -> None:
    prepare(Folder(tmp_path), compose_experiment(["method=depthfl", "rounds=3"]))
    grid = compose_grid(["seed=0,1"], str(tmp_path / "config.yaml"))
    assert [(run.config.method.name, run.config.rounds, run.config.seed) for run in grid.runs] == [
        ("depthfl", 3, 0),
        ("depthfl", 3, 1),
    ]
