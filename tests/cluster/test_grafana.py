"""The dashboard: it shows every metric, by the name Ray exports it under, and lays its panels out cleanly."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fedra_ray.runtime import metrics

DASHBOARD = json.loads((Path(__file__).resolve().parents[2] / "cluster" / "grafana" / "fedra-ray.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
METRICS = metrics.GAUGES | metrics.COUNTERS
TAGS = {metric: tag for metric, (_, tags) in METRICS.items() for tag in tags}
KEYWORDS = {"max", "sum", "avg", "by", "rate", "increase", "run", "domain", "phase", "direction"}


def series(metric: str) -> str:
    """The name under which Ray exports a metric to Prometheus."""
    return f"ray_{metric}_total" if metric in metrics.COUNTERS else f"ray_{metric}"


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def names(expression: str) -> set[str]:
    """Everything in an expression that is a name, without label values and time ranges."""
    bare = re.sub(r'"[^"]*"|\[[^]]*\]', "", expression)
    return set(re.findall(r"[a-zA-Z_]\w*", bare))


def test_expressions_use_known_metrics_only() -> None:
    known = {series(metric) for metric in METRICS}
    assert {
        expression: strange for expression in expressions() if (strange := names(expression) - known - KEYWORDS)
    } == {}


def test_every_metric_is_shown() -> None:
    shown = set().union(*map(names, expressions()))
    assert {metric for metric in METRICS if series(metric) not in shown} == set()


@pytest.mark.parametrize(("metric", "tag"), TAGS.items())
def test_a_tagged_metric_is_drawn_by_its_tag(metric: str, tag: str) -> None:
    drawn = [
        target["legendFormat"]
        for panel in PANELS
        for target in panel["targets"]
        if panel["type"] == "timeseries" and series(metric) in names(target["expr"])
    ]
    assert drawn
    assert all(f"{{{{{tag}}}}}" in legend for legend in drawn)


def test_every_series_is_of_the_chosen_runs() -> None:
    for expression in expressions():
        assert len(re.findall(r"ray_fedra_\w+", expression)) == expression.count('{run=~"$run"}'), expression
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "run"}
    assert variables["run"]["query"]["query"] == f"label_values({series('fedra_round')}, run)"


def test_counters_are_shown_as_totals_or_rates() -> None:
    for expression, counter in itertools.product(expressions(), metrics.COUNTERS):
        if series(counter) in names(expression):
            assert expression.startswith("sum by "), expression


def test_panels_have_ids_and_titles_of_their_own_and_a_unit() -> None:
    for key in ("id", "title"):
        values = [panel[key] for panel in PANELS]
        assert len(values) == len(set(values))
    units = {panel["title"]: panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS}
    assert units["Seconds of a round by phase"] == "s"
    assert units["Bytes to and from clients"] == "Bps"
    assert units["Accuracy by domain"] == "percentunit"
    assert all(units.values())


def test_panels_fill_the_grid_without_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    assert len(cells) == 24 * (max(y for _, y in cells) + 1)


def test_schema_is_the_last_of_its_kind() -> None:
    assert DASHBOARD["schemaVersion"] == 42
