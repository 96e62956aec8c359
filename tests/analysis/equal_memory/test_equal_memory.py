"""The comparison at equal memory: who gets how much, in what order, and what the table says of it."""

from pathlib import Path

import numpy as np
import pytest

from analysis.equal_memory import __main__ as study
from analysis.equal_memory.contenders import ALIKE, CONTENDERS, FLEETS, slug
from analysis.equal_memory.report import report
from analysis.runs.intervals import half_width
from analysis.runs.reading import Run, read_runs
from fedra_ray import compose
from fedra_ray.preflight import check_experiment

MEMORY = {depth: float(depth) for depth in range(1, 13)}


@pytest.fixture(scope="module")
def memory() -> dict[int, float]:
    """The memory in which FedRA trains so many blocks of the embedded ViT."""
    return study.budgets("glyph_vit", [])


ALLOCATIONS = [name for name, own in CONTENDERS.items() if not any("lora_aggregation" in each for each in own)]


def test_aggregations_are_those_that_there_are() -> None:
    for name in CONTENDERS.keys() - ALLOCATIONS:
        config = compose(*CONTENDERS[name])
        assert config.lora_aggregation.target
        assert config.method.name == "fedra"


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_every_contender_is_an_experiment_that_passes_all_checks(name: str, memory: dict[int, float]) -> None:
    runs = study.comparison({name: 0.1}, memory)
    own = next(iter(runs.values()))
    check_experiment(compose(*next(iter(study.tuning([name], memory).values()))))
    config = check_experiment(compose(*own))[0].config
    assert config.training.lr == config.training.head_lr == 0.1
    if name == "FedRA":
        assert config.fleet.depths == FLEETS["paper"][0]
    elif name != "AllLarge":
        assert all(own <= asked for own, asked in zip(config.fleet.depths, FLEETS["paper"][0], strict=True))


def test_the_same_memory_holds_fewer_blocks_of_what_needs_more(memory: dict[int, float]) -> None:
    depths = {}
    for name in ("FedRA", "FedRA, streamed", "FedBRICK"):
        own = study.comparison({name: 0.1}, memory)[f"extreme4/{slug(name)}-0"]
        depths[name] = set(check_experiment(compose(*own))[0].config.fleet.depths)
    assert depths["FedRA"] == {4}
    assert max(depths["FedRA, streamed"]) < 4
    assert max(depths["FedBRICK"]) < 4


def test_fleets_keep_their_seed_and_those_who_do_the_same_in_every_fleet_run_once() -> None:
    runs = study.comparison(dict.fromkeys(CONTENDERS, 0.03), MEMORY)
    assert [key for key in runs if "headonly" in key or "head-only" in key] == [
        f"paper/head-only-{s}" for s in range(3)
    ]
    assert "fleet.depths=[12,10,8,6,4,3]" in runs["paper/alllarge-0"]
    assert "fleet.memory_mb=[3.000,4.000,6.000,8.000,10.000,12.000]" in runs["paper/fedra-1"]
    assert len(runs) == 3 * (len(ALIKE) + 1 + 4 * (len(CONTENDERS) - len(ALIKE) - 1))  # Exclusive needs a whole model
    assert "extreme4/exclusive-0" not in runs


def test_each_contender_keeps_the_rate_that_is_best_on_validation() -> None:
    runs = study.tuning(["FedRA", "DepthFL"], MEMORY)
    assert len(runs) == 6
    assert all("evaluation.split=validation" in own and "seed=100" in own for own in runs.values())
    scores = dict(zip(runs, (0.1, 0.3, 0.2, 0.5, 0.4, 0.3), strict=True))
    summaries = {key: {"mean_accuracy": score} for key, score in scores.items()}
    assert study.chosen(["FedRA", "DepthFL"], summaries) == {"FedRA": 0.03, "DepthFL": 0.01}


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--table", "--out", str(tmp_path / "nowhere")]) == 2
    assert "has no finished run of this study" in capsys.readouterr().err


def test_the_table_says_who_is_below_a_head_alone(tmp_path: Path, several_runs: dict[str, Run]) -> None:
    places = {"head-only": several_runs["headonly"], "fedra": several_runs["fedra"], "depthfl": several_runs["shallow"]}
    for name, run in places.items():
        (tmp_path / f"{name}-0").symlink_to(Path(str(run.folder)))
    runs = {"extreme4": read_runs(sorted(map(str, tmp_path.glob("*"))))}
    names = {"head-only": "Head only", "fedra": "FedRA", "depthfl": "DepthFL"}
    text = report(runs, names, ["Head only"])
    head = 100 * places["head-only"].summary["mean_accuracy"]
    for slugged, name in names.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        own = 100 * places[slugged].summary["mean_accuracy"]
        assert f"{own:.1f} (1)" in line
        assert ("†" in line) == (own < head)


def test_leads_are_paired_by_seed(tmp_path: Path, several_runs: dict[str, Run]) -> None:
    first, second, other = (several_runs[name] for name in ("fedra", "permuted", "shallow"))  # of seeds 0, 1 and 0
    for name, run in {"partial-0": first, "partial-1": second, "fedra-0": other, "fedra-1": second}.items():
        (tmp_path / name).symlink_to(Path(str(run.folder)))
    text = report(
        {"extreme4": read_runs(sorted(map(str, tmp_path.glob("*"))))}, {"partial": "Partial", "fedra": "FedRA"}, []
    )
    (line,) = [line for line in text.partition("Lead over Partial")[2].splitlines() if line.startswith("| FedRA ")]
    difference = 100 * (other.summary["mean_accuracy"] - first.summary["mean_accuracy"])
    assert f"{difference / 2:+.1f} ± {half_width(np.array([difference, 0.0])):.1f}" in line
