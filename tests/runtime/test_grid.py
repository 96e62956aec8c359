import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedra_ray.cli.grid import grid
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.folder import Folder
from fedra_ray.runtime.grid import Cell, Result, cell_name, shares, tabulate, write


def result(method: str, seed: int, accuracy: dict[str, float] | None) -> Result:
    cell = Cell({"method": method, "seed": str(seed)}, ExperimentConfig(seed=seed))
    if accuracy is None:
        return Result(cell, None, "lost")
    mean = sum(accuracy.values()) / len(accuracy)
    return Result(cell, {"accuracy": accuracy, "mean_accuracy": mean, "seconds": 2.5})


RESULTS = [
    result("fedra", 0, {"dark": 0.5, "light": 0.3}),
    result("fedra", 1, {"dark": 0.7, "light": 0.3}),
    result("alllarge", 0, {"dark": 0.25, "light": 0.75}),
    result("depthfl", 0, None),
]


def test_a_grid_has_a_run_for_every_combination_in_a_folder_of_its_own() -> None:
    cells, out, parallel = grid(
        ["method=fedra,alllarge", "seed=0,1", "rounds=3", "run_dir=/shared/grid", "sweep.parallel=2"]
    )
    assert (out, parallel) == ("/shared/grid", 2)
    assert [(cell.config.method.name, cell.config.seed) for cell in cells] == [
        ("fedra", 0),
        ("fedra", 1),
        ("alllarge", 0),
        ("alllarge", 1),
    ]
    assert {cell.config.rounds for cell in cells} == {3}
    assert [cell.config.run_dir for cell in cells] == [f"/shared/grid/{cell.name}" for cell in cells]
    assert cells[1].name == "method=fedra,seed=1"


def test_lists_and_groups_vary_too_and_names_stay_one_folder() -> None:
    cells, _, parallel = grid(
        ["fleet.depths=[12,6],[3,3]", "experiment=paper/domainnet_vit_feature_skew,paper/dynamic"]
    )
    assert parallel is None
    assert [cell.config.fleet.depths for cell in cells[::2]] == [[12, 6], [3, 3]]
    assert all("/" not in cell.name for cell in cells)
    assert len({cell.name for cell in cells}) == 4


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        (["seed=0,1", "rounds=0"], "rounds"),
        (["seed=0,-1"], "seed"),
        (["method=fedra,fedavg"], "method"),
        (["sweep.parallel=0"], "sweep.parallel"),
        (["fleet.depths=[4,2"], "fleet.depths"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_any_run(overrides: list[str], setting: str) -> None:
    with pytest.raises(SettingError) as refusal:
        grid(overrides)
    assert refusal.value.args[0] == setting


@pytest.mark.parametrize(
    ("runs", "slots", "parallel", "expected"),
    [
        (12, 2, None, (2, 1)),
        (12, 64, None, (8, 8)),
        (3, 64, None, (3, 21)),
        (12, 64, 4, (4, 16)),
        (12, 1, None, (1, 1)),
        (12, 2, 4, (4, 1)),
    ],
)
def test_runs_share_the_slots_equally(runs: int, slots: int, parallel: int | None, expected: tuple[int, int]) -> None:
    assert shares(runs, slots, parallel) == expected


@given(st.integers(1, 50), st.integers(1, 200))
def test_shares_never_exceed_the_slots(runs: int, slots: int) -> None:
    at_once, share = shares(runs, slots, None)
    assert 1 <= at_once <= runs
    assert at_once * share <= slots


def test_the_table_has_a_row_a_run_and_says_what_failed(tmp_path: object) -> None:
    folder = Folder(str(tmp_path))
    write(folder, RESULTS)
    rows = pq.read_table(pa.BufferReader(folder.read("results.parquet"))).to_pylist()
    assert [row["run"] for row in rows] == [cell_name(each.cell.varied) for each in RESULTS]
    assert [row["accuracy.dark"] for row in rows] == [0.5, 0.7, 0.25, None]
    assert [row["status"] for row in rows] == ["finished"] * 3 + ["failed"]
    assert rows[3]["error"] == "lost"
    assert rows[2]["method"] == "alllarge"


def test_the_printed_table_has_mean_and_deviation_over_seeds() -> None:
    output = io.StringIO()
    Console(file=output, width=100).print(tabulate(RESULTS))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.getvalue().splitlines() if "│" in line]
    assert lines == [
        ["method=fedra", "2", "45.0 ± 7.1", "30.0 ± 0.0 (light)"],
        ["method=alllarge", "1", "50.0", "25.0 (dark)"],
        ["method=depthfl", "0", "failed", ""],
    ]
