# Long: one table, whose cells, groups, formats and refusals are each looked at.
"""Published figures are consistent, and runs are averaged and compared as they should be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import note_round

from analysis.plots.formats import FORMATS, MEAN, Row
from analysis.questions.table import Cell, main, read_published, read_run, tabulate
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import (
    BackboneConfig,
    DatasetConfig,
    EvaluationConfig,
    ExperimentConfig,
    FleetConfig,
    MethodConfig,
    PartitionConfig,
    TrainingConfig,
    WrapperConfig,
)
from fedra_ray.federation.messages import ClientReport, ClientTask, Score
from fedra_ray.federation.reports import Outcome
from fedra_ray.federation.traffic import Traffic
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.parts import to_parquet
from fedra_ray.run_dir.records import Records
from fedra_ray.watch import results

CELLS, FLEETS = read_published()
WITH_DOMAINS = [cell for cell in CELLS if cell.accuracy]
DOMAINS = {
    "domainnet": ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"],
    "nicopp": ["autumn", "dim", "grass", "outdoor", "rock", "water"],
}
ACCURACY = {"clipart": 0.5, "sketch": 0.7}


def write_run(folder: Path, accuracy: dict[str, float] = ACCURACY, **sections: Any) -> Path:
    """A finished run; `sections` replace those of a FedRA run on DomainNet with the paper's ViT and fleet."""
    defaults = {"dataset": DatasetConfig(name="domainnet"), "backbone": BackboneConfig(name="vit_b16")}
    config = ExperimentConfig(**{**defaults, "run_dir": str(folder), **sections})
    prepare(Folder(folder), config)
    summary = {
        "method": config.method.name,
        "dataset": config.dataset.name,
        "backbone": config.backbone.name,
        "seed": config.seed,
        "rounds": config.rounds,
        "split": config.evaluation.split,
        "accuracy": accuracy,
        "mean_accuracy": sum(accuracy.values()) / len(accuracy),
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def rows_of(*folders: Path, **beside: str) -> list[Row]:
    """The rows of the only table of some runs."""
    (table,) = tabulate(map(read_run, folders), **beside)
    return table.rows


def cell(**wanted: str | None) -> Cell:
    (found,) = [c for c in CELLS if all(getattr(c, name) == value for name, value in wanted.items())]
    return found


@pytest.mark.parametrize("cell", WITH_DOMAINS, ids=lambda c: f"{c.dataset}-{c.backbone}-{c.method}")
def test_a_published_mean_is_that_of_its_domains(cell: Cell) -> None:
    assert list(cell.accuracy) == DOMAINS[cell.dataset]
    assert np.mean(list(cell.accuracy.values())) == pytest.approx(cell.mean, abs=0.02)


def test_every_published_figure_is_there_once() -> None:
    keys = [(c.source, c.dataset, c.backbone, c.label, c.fleet) for c in CELLS]
    assert len(keys) == len(set(keys)) == 2 + 20 + 8 + 10 + 15 + 4
    assert len(WITH_DOMAINS) == 20
    assert {c.dataset for c in CELLS} == {*DOMAINS, "cifar100", "closed_benchmarks"}
    assert {c.backbone for c in CELLS} == {"vit_b16", "mixer_b16", "vit_b16_in21k", "llama2_7b", None}
    assert {c.fleet for c in CELLS} == {*FLEETS, None}
    assert all(0 < percent < 100 for c in CELLS for percent in (c.mean, *c.accuracy.values()))


def test_published_figures_are_those_of_the_papers() -> None:
    assert cell(dataset="domainnet", method="fedra", fleet="paper").mean == 63.90
    assert cell(dataset="nicopp", method="fedra", fleet="paper").mean == 86.48
    fedbrick = cell(dataset="domainnet", backbone="vit_b16", method="fedbrick", fleet="fedbrick")
    assert (fedbrick.accuracy["quickdraw"], fedbrick.mean) == (46.98, 70.33)
    assert (fedbrick.rounds, fedbrick.runs, fedbrick.source) == (100, 3, "FedBRICK (AAAI 2026), Table 1")
    assert cell(backbone="mixer_b16", method="fedra", fleet="extreme4").mean == 14.52
    assert cell(dataset="nicopp", lora_aggregation="lorafair").mean == 91.24
    assert cell(method="fedra", submodel="frozen", setting="classes_10").mean == 78.5
    assert cell(method="devft").mean == 42.33
    assert FLEETS["fedbrick"] == [12, 10, 8, 6, 5, 4]
    assert FLEETS["extreme6"] == [6] * 6


def test_seeds_are_averaged_and_their_sample_deviation_is_given(tmp_path: Path) -> None:
    first = write_run(tmp_path / "0", {"clipart": 0.7, "sketch": 0.4}, seed=0)
    second = write_run(tmp_path / "1", {"clipart": 0.8, "sketch": 0.4}, seed=1)
    row = rows_of(first, second)[0]
    assert (row.method, row.fleet, row.partition) == ("FedRA", "paper", "feature_skew, alpha 100")
    assert (row.runs, row.rounds, row.source) == (2, 40, "measured")
    assert row.accuracy == pytest.approx({"clipart": 75, "sketch": 40, MEAN: 57.5})
    # sqrt((5² + 5²) / 1), 0, and for means of 55 and 60: sqrt((2.5² + 2.5²) / 1)
    assert row.deviation == pytest.approx({"clipart": 50**0.5, "sketch": 0, MEAN: 12.5**0.5}, abs=1e-9)


def test_one_run_has_no_deviation(tmp_path: Path) -> None:
    assert rows_of(write_run(tmp_path / "0"))[0].deviation == {}


def test_the_published_row_of_the_same_cell_follows_with_the_difference(tmp_path: Path) -> None:
    fleet = FleetConfig(depths=[12, 10, 8, 6, 5, 4])
    run = write_run(tmp_path / "0", fleet=fleet)
    other = write_run(tmp_path / "1", fleet=fleet, method=MethodConfig("depthfl", target="unused"))
    measured, published, _, other_published = rows_of(run, other)
    assert measured.fleet == published.fleet == "fedbrick"
    assert published.source == "FedBRICK (AAAI 2026), Table 1"
    assert published.accuracy[MEAN] == 65.31
    assert published.accuracy["quickdraw"] == 26.94
    assert published.difference == pytest.approx(60 - 65.31)
    assert measured.difference is None
    assert (other_published.method, other_published.accuracy[MEAN]) == ("depthfl", 54.80)


def test_a_figure_without_a_backbone_is_shown_but_not_subtracted(tmp_path: Path) -> None:
    _, headline = rows_of(write_run(tmp_path / "0"))
    assert headline.accuracy == {MEAN: 63.90}
    assert headline.difference is None
    assert headline.source == "FedRA (arXiv 2311.11227v2), headline, backbone not stated"


@pytest.mark.parametrize(
    "sections",
    [
        {"fleet": FleetConfig(depths=[12, 6])},
        {"fleet": FleetConfig(dynamic=True)},
        {"fleet": FleetConfig(memory_mb=[9000.0])},
        {"evaluation": EvaluationConfig(split="validation")},
        {"dataset": DatasetConfig(name="glyphs")},
        {"method": MethodConfig("headonly", target="unused")},
        {"submodel": WrapperConfig("frozen")},
        {"lora_aggregation": WrapperConfig("flexlora")},
        {"server_optimizer": WrapperConfig("fedadam")},
    ],
    ids=["fleet", "dynamic", "memory", "split", "dataset", "method", "submodel", "aggregation", "optimizer"],
)
def test_nothing_published_is_shown_beside_another_experiment(tmp_path: Path, sections: dict[str, Any]) -> None:
    assert [row.source for row in rows_of(write_run(tmp_path / "0", **sections))] == ["measured"]


@pytest.mark.parametrize("depths", [[4], [4] * 6, [4] * 30])
def test_a_fleet_is_known_by_its_shares_of_depths(tmp_path: Path, depths: list[int]) -> None:
    measured, published = rows_of(write_run(tmp_path / "0", fleet=FleetConfig(depths=depths)))
    assert (measured.fleet, published.accuracy[MEAN]) == ("extreme4", 14.90)


def test_the_full_model_is_compared_whatever_the_fleet(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "0", fleet=FleetConfig(depths=[9, 9, 2]), method=MethodConfig("alllarge", target="unused")
    )
    measured, published, _ = rows_of(run)
    assert (measured.fleet, published.fleet, published.accuracy[MEAN]) == ("9 9 2", "any", 76.81)


def test_an_aggregation_is_compared_with_the_figure_of_the_same(tmp_path: Path) -> None:
    around = {"method": MethodConfig("alllarge", target="unused"), "lora_aggregation": WrapperConfig("flexlora")}
    _, published = rows_of(write_run(tmp_path / "0", **around))
    assert (published.method, published.accuracy[MEAN]) == ("alllarge + flexlora", 76.02)
    assert published.source == "LoRA-FAIR (arXiv 2411.14961), results with ViT"


@pytest.mark.parametrize("submodel", ["frozen", "streamed"])
def test_blocks_that_run_frozen_are_compared_with_such(tmp_path: Path, submodel: str) -> None:
    run = write_run(
        tmp_path / "0",
        fleet=FleetConfig(depths=[6, 9, 12]),
        partition=PartitionConfig("classes_20"),
        submodel=WrapperConfig(submodel),
    )
    _, published = rows_of(run, dataset="cifar100", backbone="vit_b16_in21k")
    assert (published.method, published.accuracy[MEAN], published.rounds) == ("fedra + frozen", 84.1, 500)


def test_runs_on_other_data_stand_beside_the_cell_that_is_named(tmp_path: Path) -> None:
    glyphs = {
        "dataset": DatasetConfig(),
        "backbone": BackboneConfig(),
        "method": MethodConfig("alllarge", target="unused"),
    }
    run = write_run(tmp_path / "0", {"hand": 0.5}, **glyphs)
    (table,) = tabulate([read_run(run)], dataset="nicopp", backbone="mixer_b16")
    assert table.columns == ["hand", MEAN]
    assert table.title.endswith("beside published figures for nicopp, mixer_b16")
    assert table.rows[1].accuracy[MEAN] == 83.35
    assert table.rows[1].difference == pytest.approx(50 - 83.35)


@pytest.mark.parametrize(("setting", "shown"), [(None, 1), ("feature_skew", 1), ("feature_label_skew", 0)])
def test_a_stated_setting_must_be_that_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None, shown: int
) -> None:
    same = {"dataset": "domainnet", "backbone": "vit_b16", "method": "fedra", "fleet": None}
    table = {"table": "Table 9", "setting": setting, "rounds": 150, "runs": 5}
    paper = {"paper": "P", "venue": "V 2030", "arxiv": None, "fleets": {}}
    text = yaml.safe_dump(paper | {"tables": [table | {"cells": [same | {"accuracy": {}, "mean": 50.0}]}]})
    (tmp_path / "p.yaml").write_text(text)
    monkeypatch.setattr("analysis.questions.table.PUBLISHED", tmp_path)
    found = rows_of(write_run(tmp_path / "0"))[1:]
    assert [(row.source, row.rounds, row.runs) for row in found] == [("P (V 2030), Table 9", 150, 5)] * shown


def test_runs_of_other_settings_are_kept_apart_and_named_by_them(tmp_path: Path) -> None:
    slow = write_run(tmp_path / "0", training=TrainingConfig(lr=0.01), seed=0)
    fast = write_run(tmp_path / "1", training=TrainingConfig(lr=0.1), seed=1)
    skewed = write_run(tmp_path / "2", training=TrainingConfig(lr=0.1), partition=PartitionConfig(alpha=0.5), seed=1)
    rows = [row for row in rows_of(slow, fast, skewed) if row.source == "measured"]
    assert [row.method for row in rows] == ["FedRA training.lr=0.01", "FedRA training.lr=0.1", "FedRA training.lr=0.1"]
    assert [row.partition for row in rows] == [*["feature_skew, alpha 100"] * 2, "feature_skew, alpha 0.5"]


def test_assignments_of_the_same_depths_are_averaged_and_marked(tmp_path: Path) -> None:
    ordered = write_run(tmp_path / "0", seed=0)
    permuted = write_run(tmp_path / "1", fleet=FleetConfig(depths=[3, 4, 6, 8, 10, 12]), seed=1)
    row, _ = rows_of(ordered, permuted)
    assert (row.runs, row.fleet) == (2, "paper, permuted")


def test_depths_with_probabilities_keep_their_order(tmp_path: Path) -> None:
    fleets = [FleetConfig(depths=depths, dynamic=True, probabilities=[0.9, 0.1]) for depths in ([12, 3], [3, 12])]
    runs = [write_run(tmp_path / str(seed), fleet=fleet, seed=seed) for seed, fleet in enumerate(fleets)]
    assert [(row.runs, row.fleet) for row in rows_of(*runs)] == [(1, "12 3, dynamic"), (1, "3 12, dynamic")]


def test_where_a_run_was_computed_does_not_keep_it_apart(tmp_path: Path) -> None:
    first = write_run(tmp_path / "0", seed=0)
    second = write_run(tmp_path / "1", seed=1, dataset=DatasetConfig(name="domainnet", root="elsewhere.parquet"))
    assert rows_of(first, second)[0].runs == 2


def test_every_data_set_has_a_table_of_its_own(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "0"), write_run(tmp_path / "1", {"dim": 0.9}, dataset=DatasetConfig(name="nicopp"))]
    tables = tabulate(map(read_run, runs))
    assert [table.columns for table in tables] == [["clipart", "sketch", MEAN], ["dim", MEAN]]


def test_a_run_without_a_partition_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["partition"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert rows_of(run)[0].partition == ""


def test_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "0"), write_run(tmp_path / "1")]
    with pytest.raises(SettingError, match="is the same run as"):
        rows_of(*runs)


def test_what_a_run_leaves_is_read(config: ExperimentConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    prepare(Folder(folder), config)
    blueprint, _ = check_experiment(config)
    records = Records(Folder(folder))
    update = ClientReport(ClientTask(1, 0, (0,), ("head",)), Traffic(40, 40), 8, 1, 0.5, 0.1)
    note_round(records, [update], 4)
    records.finish()
    Folder(folder).write("partition.parquet", to_parquet(blueprint.division().table()))
    results.write(
        Folder(folder), blueprint, Outcome(blueprint.layout.initial(0), [Score("dark", "test", 8, 2, 8, 1.0)])
    )
    (row,) = rows_of(folder)
    assert (row.dataset, row.backbone, row.fleet) == ("shapes", "tiny_vit", "4 2 1")
    assert row.accuracy == {"dark": 25, MEAN: 25}


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_prints_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert main([str(write_run(tmp_path / "0")), "--format", form]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\n")
    assert "FedRA" in printed
    assert "63.9" in printed


def test_the_command_compares_with_the_cell_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write_run(tmp_path / "0", dataset=DatasetConfig(name="parquet"), fleet=FleetConfig(depths=[6])))
    assert main([run, "--dataset", "domainnet", "--format", "csv"]) == 0
    assert "53.45" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("summary.json", None, "there is no summary.json"),
        ("config.yaml", None, "there is no config.yaml"),
        ("summary.json", '{"method": ', "its summary.json is damaged"),
        ("summary.json", "3", "its summary.json is damaged"),
        ("summary.json", '{"method": "fedra"}', "does not state dataset, backbone, seed"),
        ("config.yaml", "a: [", "its config.yaml is damaged"),
        ("config.yaml", "", "its config.yaml is damaged"),
        ("config.yaml", "rounds: 3", "does not state fleet.depths"),
    ],
)
def test_what_is_no_finished_run_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, complaint: str
) -> None:
    file = write_run(tmp_path / "0") / name
    file.unlink() if content is None else file.write_text(content)
    assert main([str(tmp_path / "0")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert complaint in printed.err
    assert printed.err.startswith(f"error: RUN_DIR={tmp_path / '0'}: ")
    assert printed.err.count("\n") == 1


def test_an_unfinished_run_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(write_run(tmp_path / "0", seed=0)), str(write_run(tmp_path / "1", seed=1))]
    (tmp_path / "0" / "summary.json").unlink()
    assert main([*runs, "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"left out: RUN_DIR={runs[0]}: holds no finished run: there is no summary.json")
    assert printed.err.count("\n") == 1
    assert len(printed.out.splitlines()) == 1 + 1 + 1  # names, the finished run, and what is published


def test_a_uri_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"file://{write_run(tmp_path / '0')}"]) == 0
    assert "60.00" in capsys.readouterr().out


def test_a_missing_directory_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "holds no finished run: there is no config.yaml" in capsys.readouterr().err
