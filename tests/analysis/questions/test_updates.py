from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.questions.updates import analyse, main, of_layers
from analysis.runs.aggregates import factors_at
from analysis.runs.reading import read_run
from analysis.runs.replay import Replay


def test_the_norm_is_that_of_the_scaled_product(fedra_run: str) -> None:
    run = read_run(fedra_run)
    table = analyse([run], [2]).set_index(["layer", "target"])
    replay = Replay(run)
    factors = factors_at(replay, replay.values(2), "blocks.2.mlp.fc2")
    scaling = run.config.lora.alpha / run.config.lora.rank
    row = table.loc[3, "mlp.fc2"]
    assert row["norm"] == pytest.approx(scaling * np.linalg.norm(factors.b @ factors.a))
    assert 1 <= row["effective_rank"] <= run.config.lora.rank


def test_nothing_is_learnt_at_round_0(fedra_run: str) -> None:
    table = analyse([read_run(fedra_run)], [0])
    assert not table["norm"].any()
    assert table["effective_rank"].isna().all()


def test_targets_of_a_layer_are_put_together() -> None:
    same = {"run": "r", "label": "m", "fleet": "2 1", "seed": 0, "round": 1, "layer": 1}
    table = pd.DataFrame([same | {"norm": 3.0, "effective_rank": 1.0}, same | {"norm": 4.0, "effective_rank": 2.0}])
    assert of_layers(table)[["norm", "effective_rank"]].to_numpy().tolist() == [[5, 1.5]]


def test_the_command_takes_all_kept_rounds(fedra_run: str, tmp_path: Path) -> None:
    assert main([fedra_run, "--out", str(tmp_path)]) == 0
    table = pd.read_parquet(tmp_path / "updates.parquet")
    assert len(table) == 3 * 4 * 2
    assert (tmp_path / "updates.png").exists()
