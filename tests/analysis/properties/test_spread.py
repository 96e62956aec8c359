"""How far seeds lie apart."""

import pytest

from analysis.properties.spread import runs, table
from fedra_ray import compose
from fedra_ray.preflight import check_experiment


def test_every_method_runs_with_every_seed_and_nothing_else_differs() -> None:
    wanted = runs("glyphs", "glyph_vit", ["fedra", "headonly"], [0, 1])
    configs = [check_experiment(compose(*own))[0].config for own in wanted.values()]
    assert [(config.method.name, config.seed) for config in configs] == [
        ("fedra", 0),
        ("fedra", 1),
        ("headonly", 0),
        ("headonly", 1),
    ]
    assert configs[0].fleet == configs[1].fleet


def test_the_table_has_the_mean_and_standard_deviation_of_each_method() -> None:
    accuracies = {"glyphs-glyph_vit/fedra-0": 0.5, "glyphs-glyph_vit/fedra-1": 0.53, "glyphs-glyph_vit/fedra-2": 0.56}
    rows = table({key: {"mean_accuracy": value} for key, value in accuracies.items()})
    assert rows.to_dict("records") == [
        {"runs": "glyphs-glyph_vit/fedra", "seeds": 3, "mean": pytest.approx(53), "spread": 3.0, "wanted": "< 1.5"}
    ]
