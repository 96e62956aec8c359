import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shipped_method

from analysis.runs.groups import collect, labels, over_seeds
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError


def test_seeds_that_deal_depths_to_other_clients_are_one_group(several_runs: dict[str, Run]) -> None:
    runs = list(several_runs.values())
    assert labels(runs) == ["FedRA", "FedRA", "FedRA", "FedRA, draw=prefix", "Head only", "DepthFL"]
    table = collect(runs, lambda run: pd.DataFrame({"x": [1, 2]}))
    assert table.columns.tolist() == ["run", "label", "fleet", "seed", "x"]
    assert table["fleet"].tolist() == ["4 2 1"] * 4 + ["all 1"] * 2 + ["4 2 1"] * 6
    assert table["seed"].tolist() == [0, 0, 1, 1] + [0] * 8


def test_what_else_tells_runs_apart_is_in_the_label(several_runs: dict[str, Run]) -> None:
    run = several_runs["fedra"]
    options = shipped_method("fedra", **{"momentum": 0})
    other = replace(run, config=replace(run.config, method=options, seed=7))
    assert labels([run, other]) == ["FedRA", "FedRA, momentum=0"]
    trained = replace(run, config=replace(run.config, training=replace(run.config.training, lr=0.5)))
    assert labels([run, trained]) == ["FedRA, training.lr=0.1", "FedRA, training.lr=0.5"]


def test_the_same_run_twice_is_refused(several_runs: dict[str, Run]) -> None:
    with pytest.raises(SettingError, match="seed included"):
        labels([several_runs["fedra"], several_runs["fedra"]])


def test_the_interval_is_student_s() -> None:
    table = pd.DataFrame({"label": ["A"] * 3 + ["B"], "x": [1.0, 2.0, 3.0, 5.0]})
    a, b = over_seeds(table, ["label"], "x").to_dict("records")
    assert (a["n"], a["mean"], a["deviation"]) == (3, 2.0, 1.0)
    assert a["high"] - a["mean"] == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)  # t of 2 degrees of freedom
    assert (b["n"], b["mean"]) == (1, 5.0)
    assert np.isnan([b["deviation"], b["low"], b["high"]]).all()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_the_interval_lies_around_the_mean(values: list[float]) -> None:
    (found,) = over_seeds(pd.DataFrame({"label": "A", "x": values}), ["label"], "x").to_dict("records")
    assert found["low"] <= found["mean"] <= found["high"]
    assert found["mean"] - found["low"] == pytest.approx(found["high"] - found["mean"])
