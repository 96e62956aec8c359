from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.questions.probes import accuracies, draw, gains, main
from analysis.runs.features import Features


def test_a_probe_reads_what_is_linear_and_only_in_its_own_layer() -> None:
    labels = np.tile([0, 1, 2], 20)
    told = np.eye(3, dtype=np.float32)[labels]
    found = Features(np.stack([np.zeros_like(told), told]), labels, np.repeat([0, 1], 30))
    assert accuracies(found, found).tolist() == [pytest.approx([1 / 3, 1 / 3]), [1, 1]]


def test_domains_are_tested_apart() -> None:
    labels = np.tile([0, 1], 20)
    told = np.eye(2, dtype=np.float32)[labels]
    train = Features(told[None], labels, np.zeros(40, dtype=int))
    swapped = Features(train.values, np.where(np.arange(40) < 20, labels, 1 - labels), np.repeat([0, 1], 20))
    assert accuracies(train, swapped).tolist() == [[1, 0]]


def test_the_gain_is_that_of_the_last_round_over_round_0() -> None:
    rows = [("a", number, layer, "x", 0.1 * number + 0.2 * layer) for number in (0, 1, 3) for layer in (0, 1)]
    table = pd.DataFrame(rows, columns=["run", "round", "layer", "domain", "accuracy"])
    found = gains(table)
    assert found["round"].tolist() == [3, 3]
    assert found["gain"].tolist() == pytest.approx([0.3, 0.3])


def test_the_command_leaves_a_table_and_a_figure(fedra_run: str, tmp_path: Path) -> None:
    assert main([fedra_run, "--out", str(tmp_path), "--rounds", "2", "--images", "24"]) == 0
    table = pd.read_parquet(tmp_path / "probes.parquet")
    assert len(table) == 2 * 5 * 3
    assert set(table["round"]) == {0, 2}
    assert table["accuracy"].between(0, 1).all()
    assert [axes.get_title("left") for axes in draw(table).axes] == ["all domains", "dark", "light", "noisy"]
    assert (tmp_path / "probes.png").stat().st_size > 0


def test_a_round_that_is_not_kept_ends_the_command(fedra_run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([fedra_run, "--rounds", "9"]) == 2
    assert "keeps the rounds 0, 1, 2" in capsys.readouterr().err
