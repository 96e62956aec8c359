import pandas as pd
import pytest

from analysis.questions.fairness import analyse, draw, summarise
from analysis.runs.reading import Run


def table(rows: list[tuple[int, str, float]]) -> pd.DataFrame:
    runs = pd.DataFrame(rows, columns=["seed", "domain", "accuracy"])
    return runs.assign(run="run of seed " + runs["seed"].astype(str), label="FedRA", fleet="4 2 1")


def test_fairness_is_computed_per_run_and_averaged_over_seeds() -> None:
    found = summarise(table([(0, "a", 0.2), (0, "b", 0.6), (1, "a", 0.7), (1, "b", 0.5)])).iloc[0]
    assert found["n"] == 2
    assert found["mean"] == pytest.approx(0.5)  # of 0.4 and 0.6
    assert found["worst"] == pytest.approx(0.35)  # of 0.2 and 0.5, of different domains
    assert found["best"] == pytest.approx(0.65)
    assert found["spread"] == pytest.approx(0.3)  # of 0.4 and 0.2
    assert found["over_domains"] == pytest.approx(0.15)  # of 0.2 and 0.1
    assert found["mean_deviation"] == pytest.approx(0.02**0.5)
    assert found["worst_domain"] == "a"  # 0.45 against 0.55


def test_domains_are_those_of_the_summary(several_runs: dict[str, Run]) -> None:
    found = analyse([several_runs["fedra"], several_runs["permuted"]])
    assert found["domain"].tolist() == ["dark", "light", "noisy"] * 2
    assert found["accuracy"][:3].tolist() == list(several_runs["fedra"].summary["accuracy"].values())


def test_every_domain_is_a_dot_on_every_line() -> None:
    (axes,) = draw(table([(0, "a", 0.2), (0, "b", 0.6), (1, "a", 0.7), (1, "b", 0.5)])).axes
    dots = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert dots == {"mean": pytest.approx([50]), "a": pytest.approx([45]), "b": pytest.approx([55])}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["FedRA, n = 2"]
