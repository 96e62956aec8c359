import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shipped_method

from analysis.questions.imbalance import gini, main, summary
from fedra_ray.config.schema import ExperimentConfig


def test_gini_of_cases_computed_by_hand() -> None:
    assert gini([2, 2, 2]) == 0
    assert gini([0, 0, 0, 5]) == pytest.approx(3 / 4)
    # 1 and 3: mean absolute difference (0 + 2 + 2 + 0) / 4 = 1, mean 2
    assert gini([1, 3]) == pytest.approx(1 / 4)
    assert math.isnan(gini([0, 0]))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.floats(0.1, 10))
def test_gini_knows_neither_scale_nor_order(shares: list[float], scale: float) -> None:
    found = gini(shares)
    assert -1e-9 <= found <= (len(shares) - 1) / len(shares) + 1e-9
    assert gini(scale * np.array(sorted(shares))) == pytest.approx(found, abs=1e-9)


def test_runs_of_a_method_are_averaged() -> None:
    norms = {("a", 0): [1, 3], ("b", 1): [2, 2], ("c", 0): [0, 1]}
    rows = [
        {"run": run, "label": "one" if run in "ab" else "other", "seed": seed, "value": value}
        for (run, seed), values in norms.items()
        for value in values
    ]
    found = summary(pd.DataFrame(rows).assign(fleet="2 1", measure="norm")).set_index("label")
    assert found.loc["one", ["runs", "imbalance"]].tolist() == [2, 0.125]
    assert found.loc["one", "deviation"] == pytest.approx(0.25 / math.sqrt(2))
    assert found.loc["other", "imbalance"] == 0.5
    assert math.isnan(found.loc["other", "deviation"])


def test_a_method_that_never_trains_its_last_layers_is_imbalanced(
    fedra_run: str, make_run: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def small(config: ExperimentConfig) -> None:
        config.method = shipped_method("allsmall")

    assert main([fedra_run, make_run(small), "--out", str(tmp_path)]) == 0
    table = pd.read_parquet(tmp_path / "imbalance_methods.parquet").set_index("label")["imbalance"]
    assert table["AllSmall"] == pytest.approx(3 / 4)  # one of four layers
    assert table["FedRA"] < 0.5
    assert "AllSmall" in capsys.readouterr().out
    measured = pd.read_parquet(tmp_path / "imbalance.parquet").query("label == 'FedRA'").groupby("measure").size()
    assert measured.to_dict() == {"accuracy": 5 * 3, "cka": 5 * 3, "norm": 4, "effective_rank": 4}
    assert (tmp_path / "imbalance.png").exists()
