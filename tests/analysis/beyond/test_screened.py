"""The figure of the screening: what its panels show."""

import pandas as pd
import pytest

from analysis.beyond.screened import draw

SURROGATES = pd.DataFrame(
    [
        *[
            ("R2", 0, "token", 0.4, 0),
            ("R2", 1, "token", 0.6, 0),
            ("R2", 0, "token", 0.2, 1),
            ("R2", 1, "token", 0.8, 1),
        ],
        *[("accuracy", 3, "skipped", 0.1, 0), ("accuracy", 3, "fitted", 0.3, 0), ("accuracy", 6, "skipped", 0.5, 0)],
    ],
    columns=["measure", "of", "way", "value", "seed"],
)
COSINES = pd.DataFrame([("identity", 0, 0.25), ("identity", 1, 0.75)], columns=["stand-in", "block", "cosine"])
TRAINING = pd.DataFrame(
    [("suffix", 0, 1.25, 0.8, 0.7), ("head alone", 0, 1.0, 0.7, 0.6), ("suffix", 1, 1.25, 0.9, 0.6)],
    columns=["variant", "seed", "forward passes", "validation", "test"],
)


def test_every_part_has_its_panels_with_means_over_seeds() -> None:
    figure = draw({"surrogates": SURROGATES, "cosines": COSINES, "training": TRAINING, "costs": pd.DataFrame()})
    assert figure is not None
    explained, kept, cosines, trained = figure.axes
    assert explained.lines[0].get_ydata() == pytest.approx([0.3, 0.7])
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in kept.lines}
    assert lines == {"skipped": ([3, 6], [10, 50]), "fitted": ([3], [30])}
    assert cosines.lines[0].get_ydata() == pytest.approx([0.25, 0.75])
    assert trained.lines[0].get_xdata() == pytest.approx([70, 85])  # on validation, the cheaper one first
    assert list(trained.lines[0].get_ydata()) == ["head alone (1)", "suffix (1.25)"]


def test_a_part_alone_has_its_own_panel_and_costs_have_none() -> None:
    for parts, panels in ({"cosines": COSINES}, 1), ({"surrogates": SURROGATES, "cosines": COSINES}, 3):
        figure = draw(parts)
        assert figure is not None
        assert len(figure.axes) == panels
    assert draw({"costs": pd.DataFrame()}) is None
