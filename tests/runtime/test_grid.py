import copy
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedra_ray.config.schema import ExperimentConfig, MethodConfig, RuntimeConfig
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder
from fedra_ray.runtime.grid import (
    GridRun,
    Result,
    at_once,
    run_name,
    share,
    summary_of,
    tabulate,
    write,
)


def result(method: str, seed: int, accuracy: dict[str, float] | None) -> Result:
    run = GridRun({"method": method, "seed": str(seed)}, ExperimentConfig(seed=seed))
    if accuracy is None:
        return Result(run, None, "lost")
    mean = sum(accuracy.values()) / len(accuracy)
    return Result(run, {"accuracy": accuracy, "mean_accuracy": mean, "seconds": 2.5})


RESULTS = [
    result("fedra", 0, {"dark": 0.5, "light": 0.3}),
    result("fedra", 1, {"dark": 0.7, "light": 0.3}),
    result("alllarge", 0, {"dark": 0.25, "light": 0.75}),
    result("depthfl", 0, None),
]


@pytest.mark.parametrize(
    ("runs", "slots", "parallel", "expected"),
    [
        (12, 2, None, (2, 1)),
        (12, 64, None, (8, 8)),
        (3, 64, None, (3, 21)),
        (12, 64, 4, (4, 16)),
        (12, 1, None, (1, 1)),
        (12, 2, 4, (4, 1)),
        (12, 0, None, (1, 1)),
    ],
)
def test_runs_share_the_slots_equally(runs: int, slots: int, parallel: int | None, expected: tuple[int, int]) -> None:
    begun = at_once(runs, slots, parallel)
    assert (begun, share(begun, slots, 0)) == expected


def test_a_share_has_an_actor_for_every_label_of_nodes() -> None:
    assert share(4, slots=8, tiers=3) == 3


@given(st.integers(1, 50), st.integers(1, 200))
def test_shares_never_exceed_the_slots(runs: int, slots: int) -> None:
    begun = at_once(runs, slots, None)
    assert 1 <= begun <= runs
    assert begun * share(begun, slots, 0) <= slots


@pytest.fixture(scope="module")
def finished(make_run: Callable[..., str]) -> ExperimentConfig:
    """A run that has finished, with depths that follow from budgets of memory, and times on devices."""
    asked: list[ExperimentConfig] = []

    def change(config: ExperimentConfig) -> None:
        config.fleet.devices, config.fleet.memory_mb = ["phone"], [4.0, 0.6]
        asked.append(copy.deepcopy(config))

    make_run(change)
    return asked[0]


def test_a_finished_run_is_told_from_its_folder_alone(
    finished: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedra_ray.data.parquet.ParquetDataset.__init__", lambda *arguments: pytest.fail("opened"))
    summary = summary_of(dataclasses.replace(finished, runtime=RuntimeConfig(max_actors=7)))
    assert summary is not None
    assert summary["seed"] == finished.seed


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"rounds": 3}, {"method": MethodConfig("fedra", "mine.FedRA")}, {"run_dir": "/nowhere"}],
)
def test_another_configuration_has_not_finished_there(finished: ExperimentConfig, change: dict[str, Any]) -> None:
    assert summary_of(dataclasses.replace(finished, **change)) is None


def test_an_unfinished_run_has_no_summary(config: ExperimentConfig) -> None:
    prepare(Folder(config.run_dir), config)
    assert summary_of(config) is None


def test_the_table_has_one_row_per_run_and_says_what_failed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(folder, RESULTS)
    rows = pq.read_table(pa.BufferReader(folder.read("results.parquet"))).to_pylist()
    assert [row["run"] for row in rows] == [run_name(each.run.varied) for each in RESULTS]
    assert [row["accuracy.dark"] for row in rows] == [0.5, 0.7, 0.25, None]
    assert [row["status"] for row in rows] == ["finished"] * 3 + ["failed"]
    assert rows[3]["error"] == "lost"
    assert rows[2]["method"] == "alllarge"


def test_names_with_brackets_are_printed_as_they_are() -> None:
    runs = [GridRun({"lora.targets": f"[{name}]"}, ExperimentConfig()) for name in ("attn.proj", "/red")]
    output = io.StringIO()
    summary = {"accuracy": {"[bold]": 0.5}, "mean_accuracy": 0.5}
    Console(file=output, width=100).print(tabulate([Result(run, summary) for run in runs]))
    for part in ("lora.targets=[attn.proj]", "lora.targets=[_red]", "([bold])"):
        assert part in output.getvalue()


def test_a_long_name_is_shortened_and_stays_one_of_its_own() -> None:
    depths = [str([1] * 99 + [last]) for last in (1, 2)]
    names = {run_name({"fleet.depths": text}) for text in depths}
    assert len(names) == 2
    assert all(name.startswith("fleet.depths=[1, 1") and len(name.encode()) < 200 for name in names)


def test_the_printed_table_has_mean_and_deviation_over_seeds() -> None:
    output = io.StringIO()
    Console(file=output, width=100).print(tabulate(RESULTS))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.getvalue().splitlines() if "│" in line]
    assert lines == [
        ["method=fedra", "2", "45.0 ± 7.1", "30.0 ± 0.0 (light)"],
        ["method=alllarge", "1", "50.0", "25.0 (dark)"],
        ["method=depthfl", "0", "failed", ""],
    ]
