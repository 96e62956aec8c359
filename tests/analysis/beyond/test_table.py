"""The comparison's tables: what is paired with what, and how much of a gap is closed."""

import pandas as pd
import pytest

from analysis.beyond.table import differences, gaps, markdown, results
from analysis.runs.reading import Run


def frame(scores: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """A table of results from the accuracies of the seeds by FLEET/METHOD."""
    rows = [(*key.split("/"), seed, value) for key, row in scores.items() for seed, value in enumerate(row)]
    return pd.DataFrame(rows, columns=["fleet", "method", "seed", "accuracy"])


def test_a_run_is_called_by_its_folders_and_tells_its_seed_and_rate(several_runs: dict[str, Run]) -> None:
    run = several_runs["permuted"]
    (row,) = results([run]).to_dict("records")
    fleet, name = str(run.folder).split("/")[-2:]
    assert (row["fleet"], row["method"]) == (fleet, name.rpartition("-")[0])
    assert (row["seed"], row["rate"]) == (1, run.config.training.lr)
    assert row["accuracy"] == pytest.approx(100 * run.summary["mean_accuracy"])


def test_differences_are_paired_over_seeds() -> None:
    rows = {"extreme3/partial": (80, 82, 84), "extreme3/suffix": (79, 80, 81), "any/headonly": (70, 70, 70)}
    table = frame(rows)
    found = differences(table).set_index("rival")
    assert found.loc["suffix", "difference"] == pytest.approx(2.0)
    assert found.loc["suffix", "half"] == pytest.approx(4.302653 * 1.0 / 3**0.5)
    assert found.loc["headonly", "difference"] == pytest.approx(12.0)
    assert "+2.0 ± 2.5" in markdown(table)
    rivals = table[table["method"] != "partial"]
    assert differences(rivals).empty
    assert "suffix" in markdown(rivals)  # without anything to set against them


def test_a_gap_lies_between_the_best_streamed_rival_and_alllarge() -> None:
    scores = {"any/alllarge": (90, 92, 94), "any/headonly": (80, 82, 81), "extreme3/fedra": (89, 89, 89)}
    scores |= {"extreme3/suffix": (85, 84, 86), "extreme6/suffix": (70, 70, 70)}
    scores |= {"extreme3/half": (90, 90, 91), "extreme6/half": (91, 92)}
    table = frame(scores)
    found = gaps(table).set_index("fleet")
    near, far = found.loc["extreme3"], found.loc["extreme6"]
    assert (near["rival"], near["seeds"], far["rival"], far["seeds"]) == ("suffix", 3, "headonly", 2)
    assert near["gap"] == pytest.approx(92 - 85)
    assert near["closed"] == pytest.approx(100 * (271 / 3 - 85) / 7)
    assert near["lead"] == pytest.approx((2.5 + 2 + 1) / 3)  # over 87.5, 88 and 90
    assert near["half"] == pytest.approx(4.302653 * 0.763763 / 3**0.5, rel=1e-5)
    assert far["gap"] == pytest.approx(10)  # of the two seeds that all have
    assert far["closed"] == pytest.approx(100 * (91.5 - 81) / 10)
    assert "| extreme3 | half | suffix | 3 | 7.0 | 76.2 | +1.8 ± 1.9 |" in " ".join(markdown(table).split())


def test_there_is_no_share_of_a_gap_that_is_none_and_no_row_without_a_floor_or_a_top() -> None:
    scores = {"any/alllarge": (80.0, 80.0), "any/headonly": (81.0, 81.0), "extreme3/half": (82.0, 82.0)}
    (row,) = gaps(frame(scores)).to_dict("records")
    assert row["gap"] == pytest.approx(-1)
    assert pd.isna(row["closed"])
    for name in ("any/alllarge", "any/headonly"):
        rest = frame({key: row for key, row in scores.items() if key != name})
        assert gaps(rest).empty
    apart = frame({"any/alllarge": (80.0,), "any/headonly": (79.0,), "extreme3/half": (float("nan"), 82.0)})
    assert gaps(apart).empty  # no seed that all three have
    assert differences(apart)["method"].to_list() == ["alllarge"]


def test_one_seed_has_no_interval() -> None:
    text = markdown(frame({"extreme3/half": (82.0,), "any/headonly": (80.0,), "any/alllarge": (81.0,)}))
    assert "+2.0" in text
    assert "nan" not in text
