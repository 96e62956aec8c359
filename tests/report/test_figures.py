from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from fedra_ray.report import figures
from fedra_ray.report.comparison import compare
from fedra_ray.report.facts import Facts, Holdings
from fedra_ray.report.figures import binned, spans


def texts(drawn: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(drawn).iter() if element.text and element.text.strip()]


def long(facts: Facts, rounds: int) -> Facts:
    numbers = np.arange(1, rounds + 1, dtype=np.int32)
    holders = np.ones((rounds, 4), dtype=np.int32)
    return replace(facts, numbers=numbers, losses=numbers / rounds, holders=holders)


def test_spans_of_rounds_are_averaged() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0, np.nan])
    assert binned(values, 2).tolist()[:2] == [2, 5]
    assert np.isnan(binned(values, 2)[2])
    assert binned(np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 7.0]]), 2).tolist() == [[2, 4], [5, 7]]


@pytest.mark.parametrize(("rounds", "span"), [(0, 1), (1, 1), (80, 1), (81, 2), (5000, 63)])
def test_at_most_so_many_spans_are_left(rounds: int, span: int) -> None:
    assert spans(rounds, 80) == span


def test_the_legend_names_every_domain(facts: Facts) -> None:
    assert {*facts.accuracy, "mean"} <= set(texts(figures.accuracy(facts)))


def test_long_names_are_cut(facts: Facts) -> None:
    drawn = figures.shares(Holdings(["x" * 99], False, facts.holdings.share[:1]))
    assert "x" * 23 + "…" in texts(drawn)


def test_hatching_is_only_where_nobody_held_a_layer(facts: Facts) -> None:
    holders = np.ones((2, 4), dtype=np.int32)
    assert "<pattern" not in figures.holders(replace(facts, holders=holders))
    holders[1, 2] = 0
    assert "<pattern" in figures.holders(replace(facts, holders=holders))


def test_a_long_run_has_small_figures(facts: Facts) -> None:
    short, endless = long(facts, 200), long(facts, 5000)
    for draw in (figures.loss, figures.holders):
        assert len(draw(endless)) < 1.2 * len(draw(short))


def test_a_figure_has_no_identifier_that_another_one_has(facts: Facts) -> None:
    drawn = [figures.accuracy(facts), figures.loss(facts), figures.holders(facts), figures.shares(facts.holdings)]
    found = [element.get("id") for svg in drawn for element in ElementTree.fromstring(svg).iter() if element.get("id")]
    assert len(found) == len(set(found)) > 0


def test_models_of_other_depths_stand_in_one_picture(facts: Facts) -> None:
    deeper = replace(facts, holders=np.ones((2, 6), dtype=np.int32), settings=facts.settings | {"rounds": 9})
    assert {"FedRA, rounds=2", "FedRA, rounds=9"} <= set(texts(figures.coverage(compare([facts, deeper]))))
