from pathlib import Path

from analysis.study import stages, tables

BEST = dict.fromkeys(stages.METHODS, stages.RATES[0])


def test_the_table_has_mean_and_deviation_over_seeds() -> None:
    summaries = {
        f"{method}/{seed}": {"accuracy": {"a": 0.1 * seed}, "mean_accuracy": 0.5}
        for method in stages.METHODS
        for seed in (2, 0, 1)
    }
    table = tables.results(summaries, BEST)
    assert table["seed"].to_pylist()[:3] == [0, 1, 2]
    header, _, first, *_ = tables.markdown(table).splitlines()
    assert [cell.strip() for cell in header.split("|")] == ["", "method", "a", "mean", ""]
    assert [cell.strip() for cell in first.split("|")] == ["", "AllLarge", "10.0 ± 10.0", "50.0 ± 0.0", ""]


def test_the_table_of_fleets_has_those_that_were_run(tmp_path: Path) -> None:
    accuracies = {"DepthFL extreme3": (0.1, 0.3), "DepthFL dynamic": (0.5, 0.5), "AllSmall dynamic": (0.0, 0.2)}
    summaries = {
        f"{cell}/{seed}": {"mean_accuracy": mean}
        for cell, means in accuracies.items()
        for seed, mean in enumerate(means)
    }
    tables.write(summaries, {"DepthFL": 0.1, "AllSmall": 0.3}, tmp_path)
    assert not (tmp_path / "results.md").exists()
    header, _, *rows = (tmp_path / "fleets.md").read_text(encoding="utf-8").splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["method", "extreme3", "dynamic"]
    assert [cell.strip() for cell in rows[0].split("|")[1:-1]] == ["DepthFL", "20.0 ± 14.1", "50.0 ± 0.0"]
    assert [cell.strip() for cell in rows[1].split("|")[1:-1]] == ["AllSmall", "", "10.0 ± 14.1"]
    assert "- AllSmall: `training.lr=0.3 training.head_lr=0.3`" in rows
