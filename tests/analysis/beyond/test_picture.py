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
    frame = points(results, costs, "extreme3", 3)
    assert frame["accuracy"].to_list() == [50.0, 48.0, 47.0, 46.0]
    passes = costs[costs["depth"] == 3].set_index("method")["forward passes"]
    whole, partial, fewer, suffix = frame["passes"]
    assert partial == fewer == passes["partial"]
    assert (whole, suffix) == (passes["recomputed"], passes["suffix"])
    assert frame["label"].nunique() == 3  # the whole model is one method, with all images or fewer


def test_every_method_is_named_once_with_its_means_and_one_far_below_in_the_legend_alone() -> None:
    rows = [("head alone", 1.0, 40.0), ("head alone", 1.0, 42.0), ("Partial", 1.6, 43.0), ("Partial", 2.0, 44.0)]
    frame = pd.DataFrame([("FedRA", 0.5, 10.0), *rows], columns=["label", "passes", "accuracy"])
    (axes,) = draw(frame, 3).axes
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["FedRA: 10.0 (below, at 0.5)", "head alone: 41.0", "Partial: 43.0, 44.0"]
    assert axes.lines[-1].get_ydata() == pytest.approx([43.0, 44.0])
    assert axes.get_ylim()[0] > 10
