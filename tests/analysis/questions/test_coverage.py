from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.questions import coverage
from analysis.runs.reading import Run
from fedra_ray.federation.allocation import expected_uncovered


def test_layers_without_a_holder_are_counted(several_runs: dict[str, Run]) -> None:
    run = several_runs["shallow"]
    found = coverage.rounds([run])
    held = [set(np.concatenate(list(layers))) for _, layers in run.table("clients").groupby("round")["layers"]]
    assert found["uncovered"].tolist() == [4 - len(layers) for layers in held]
    expected, probability = expected_uncovered([1, 1, 1], 4)
    assert found["expected"].tolist() == [expected] * 3  # 4 (3/4)³
    assert expected == pytest.approx(27 / 16)
    assert found["probability"].tolist() == [probability] * 3 == [1.0] * 3


def test_only_layers_of_the_evaluated_model_count(several_runs: dict[str, Run]) -> None:
    run = several_runs["headonly"]
    assert coverage.rounds([run])["uncovered"].tolist() == [4] * 3
    first = replace(run, summary=run.summary | {"evaluated_layers": [0]})
    assert coverage.rounds([first])["uncovered"].tolist() == [1] * 3


def test_rounds_of_all_seeds_are_one_sample(several_runs: dict[str, Run]) -> None:
    (row,) = coverage.analyse([several_runs["fedra"], several_runs["permuted"]]).to_dict("records")
    assert (row["rounds"], row["uncovered"], row["expected"], row["any_expected"]) == (6, 0, 0, 0)
    assert (row["low"], row["high"], row["any_low"]) == (0, 0, 0)
    assert row["any_high"] == pytest.approx(1 - 0.025 ** (1 / 6))  # exact: (1 - p)^6 = 2.5 %


def test_observed_and_expected_are_drawn() -> None:
    row = {"label": "FedRA", "fleet": "all 3", "rounds": 10, "uncovered": 2.4, "low": 2.0, "high": 2.8}
    row |= {"expected": 2.1, "any_uncovered": 1.0, "any_low": 0.7, "any_high": 1.0, "any_expected": 0.96}
    left, right = coverage.draw(pd.DataFrame([row])).axes
    assert left.lines[0].get_xdata().tolist() == [2.4]  # after it its caps
    assert left.lines[-1].get_xdata().tolist() == [2.1]
    assert right.lines[-1].get_xdata().tolist() == [0.96]
    assert "FedRA\nall 3, 10 rounds" in [text.get_text() for text in left.get_yticklabels()]
