"""The picture of the comparison: which point lies where."""

import pandas as pd
import pytest
from cost_by_hand import BY_HAND

from analysis.beyond.costs import table
from analysis.beyond.picture import draw, points


def test_a_method_lies_at_its_arithmetic_and_those_of_equal_flops_lie_together() -> None:
    rows = [("any", "alllarge", 0, 50.0), ("extreme3", "partial", 0, 48.0), ("extreme3", "recomputed", 0, 47.0)]
    rows += [("extreme3", "suffix", 0, 46.0), ("extreme6", "suffix", 0, 49.0), ("extreme3", "fedbrick", 0, 9.0)]
    results = pd.DataFrame(rows, columns=["fleet", "method", "seed", "accuracy"])
    costs = table(BY_HAND, 32)
    frame = points(results, costs, "extreme3", 3).set_index("label")
    assert frame["accuracy"].to_dict() == {
        "AllLarge, recomputed": 50.0,
        "Partial": 48.0,
        "AllLarge, fewer images": 47.0,
        "suffix": 46.0,
    }
    passes = costs[costs["depth"] == 3].set_index("method")["forward passes"]
    assert frame["passes"]["Partial"] == frame["passes"]["AllLarge, fewer images"] == passes["partial"]
    assert frame["passes"]["AllLarge, recomputed"] == passes["recomputed"]


def test_every_method_is_named_once_with_its_mean() -> None:
    frame = pd.DataFrame({"label": ["head alone", "head alone"], "passes": [1.0, 1.0], "accuracy": [40.0, 42.0]})
    (axes,) = draw(frame, 3).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["head alone 41.0"]
    assert axes.lines[-1].get_ydata()[0] == pytest.approx(41.0)
