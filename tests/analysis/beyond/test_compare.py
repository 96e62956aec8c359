"""The comparison's runs and costs, and the folder that they are in."""

import copy
from pathlib import Path

import pandas as pd
import pytest
from cost_by_hand import BY_HAND

from analysis.beyond import compare
from analysis.beyond.costs import equal_batch, ways
from analysis.runs.in_process import run_here
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError
from fedra_ray.cost.law import Passed


def summary(accuracy: float) -> dict[str, float]:
    return {"mean_accuracy": accuracy}


def test_every_method_gets_the_same_rates_and_keeps_the_best_on_validation() -> None:
    methods = ["suffix", "alllarge", "recomputed"]
    runs = compare.tuning(methods, ["extreme3"], [0.01, 0.03, 0.1], BY_HAND)
    assert len(runs) == 2 * 3  # the recomputed model takes AllLarge's
    assert all("evaluation.split=validation" in run and "seed=100" in run for run in runs.values())
    scores = {f"tune/extreme3/suffix-{rate}": 0.5 + rate for rate in (0.01, 0.03)}
    scores |= {f"tune/any/alllarge-{rate}": 0.5 - rate for rate in (0.01, 0.03)}
    best = compare.best_rates(methods, "extreme3", [0.01, 0.03], {key: summary(value) for key, value in scores.items()})
    assert best == {"suffix": 0.03, "alllarge": 0.01, "recomputed": 0.01}


def test_a_method_is_tuned_on_every_fleet_where_depths_matter_to_it() -> None:
    runs = compare.tuning(["suffix", "headonly"], ["extreme6", "paper"], [0.1], BY_HAND)
    assert list(runs) == ["tune/any/headonly-0.1", "tune/extreme6/suffix-0.1", "tune/paper/suffix-0.1"]
    assert "fleet=paper" in runs["tune/paper/suffix-0.1"]
    scores = {
        "extreme6/suffix-0.03": 0.5,
        "extreme6/suffix-0.1": 0.6,
        "paper/suffix-0.03": 0.6,
        "paper/suffix-0.1": 0.1,
    }
    summaries = {f"tune/{key}": summary(value) for key, value in scores.items()}
    rates = {fleet: compare.best_rates(["suffix"], fleet, [0.03, 0.1], summaries) for fleet in ("extreme6", "paper")}
    assert rates == {"extreme6": {"suffix": 0.1}, "paper": {"suffix": 0.03}}
    runs = compare.comparison(rates, [0], BY_HAND)
    assert "training.lr=0.1" in runs["test/extreme6/suffix-0"]
    assert "training.lr=0.03" in runs["test/paper/suffix-0"]


def test_methods_that_do_the_same_at_every_depth_run_once_a_seed() -> None:
    rates = {"headonly": 0.03, "suffix": 0.1}
    runs = compare.comparison(dict.fromkeys(["extreme3", "extreme6"], rates), [0, 1], BY_HAND)
    assert len(runs) == 2 * 1 + 2 * 2
    assert "training.lr=0.1" in runs["test/extreme6/suffix-1"]
    assert "fleet=extreme6" in runs["test/extreme6/suffix-1"]


def test_fewer_images_are_taken_at_a_rate_that_is_lower_by_as_much() -> None:
    runs = compare.comparison({"extreme3": {"recomputed": 0.03, "partial": 0.03}}, [0], BY_HAND)
    batch = equal_batch(BY_HAND, 3)
    assert batch < 32
    assert f"training.batch_size={batch}" in runs["test/extreme3/recomputed-0"]
    assert f"training.lr={0.03 * batch / 32:.2g}" in runs["test/extreme3/recomputed-0"]
    assert "training.lr=0.03" in runs["test/extreme3/partial-0"]
    more = equal_batch(BY_HAND, 3, "half")
    assert batch < more < 32
    runs = compare.comparison({"extreme3": {"recomputed_half": 0.03, "half": 0.03}}, [0], BY_HAND)
    assert f"training.batch_size={more}" in runs["test/extreme3/recomputed_half-0"]
    assert "method.options.share=0.5" in runs["test/extreme3/half-0"]


def test_the_whole_model_gets_as_many_images_as_partial_training_pays_for() -> None:
    partial = BY_HAND.step_flops(4, passed=Passed(partial=4, share=0.25))
    whole = BY_HAND.step_flops(4, passed=Passed(streamed=True, recomputed=True))
    assert (partial, whole) == (12 + (100 + 62) + 3 * (100 + 75), 12 + 250 + 3 * 300 + 4 * 100)
    assert equal_batch(BY_HAND, 1) == 15  # 32 * 699 / 1562 = 14.3
    assert ways(BY_HAND, 1)["fedra"] == (1, Passed())


def test_runs_of_other_settings_are_not_put_side_by_side(several_runs: dict[str, Run]) -> None:
    runs = [several_runs[name] for name in ("fedra", "permuted", "shallow", "prefix", "headonly")]
    config = copy.deepcopy(several_runs["depthfl"].config)
    config.training.lr, config.training.batch_size, config.run_dir = 0.5, 7, "elsewhere"
    compare.check(runs, config)
    config.training.momentum = 0.25
    with pytest.raises(SettingError, match=r"^training\.momentum=0\.25: .* holds a run with .*; choose another --out$"):
        compare.check(runs, config)


def test_the_tables_are_of_all_runs_of_a_folder(
    miniature: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "law", lambda dataset, backbone: BY_HAND)
    monkeypatch.setattr(compare, "run_all", lambda runs, *_: {key: run_here(own) for key, own in runs.items()})
    short = ["rounds=1", "training.max_steps=1", "evaluation.every=1", "training.batch_size=4"]
    common = ["--dataset", "parquet", "--fleets", "extreme3", "--rates", "0.1", "--seeds", "0", "--out", str(tmp_path)]
    own = [*miniature[1:], *short]
    for method in ("headonly", "half", "alllarge"):
        assert compare.main(["--methods", method, *common, *own]) == 0
    text = (tmp_path / "parquet-glyph_vit" / "results.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "| extreme3 | half | headonly | 1 | " in " ".join(text.split())
    tuned = pd.read_csv(tmp_path / "parquet-glyph_vit" / "tuning.csv")
    assert tuned["method"].to_list() == ["alllarge", "headonly"]
    assert set(tuned["rate"]) == {0.1}
    assert compare.main(["--methods", "suffix", *common, *own, "training.momentum=0.5"]) == 2
    assert "training.momentum=0.5" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/tune/*/suffix*"))
