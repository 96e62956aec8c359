"""The comparison's runs, costs and tables."""

import pytest
from cost_by_hand import BY_HAND

from analysis.beyond import compare
from analysis.beyond.costs import equal_batch, ways
from analysis.beyond.table import differences, markdown, results
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


def test_differences_are_paired_over_seeds() -> None:
    scores = {
        "extreme3/partial": (0.80, 0.82, 0.84),
        "extreme3/suffix": (0.79, 0.80, 0.81),
        "any/headonly": (0.7,) * 3,
    }
    frame = results(
        {f"test/{key}-{seed}": summary(value) for key, row in scores.items() for seed, value in enumerate(row)}
    )
    found = differences(frame).set_index("rival")
    assert found.loc["suffix", "difference"] == pytest.approx(2.0)
    assert found.loc["suffix", "half"] == pytest.approx(4.302653 * 1.0 / 3**0.5)
    assert found.loc["headonly", "difference"] == pytest.approx(12.0)
    assert "+2.0 ± 2.5" in markdown(frame)
    rivals = frame[frame["method"] != "partial"]
    assert differences(rivals).empty
    assert "suffix" in markdown(rivals)  # without anything to set against them
