"""The tables of a study, from the summaries of its runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.runs.rates import at_rate
from analysis.study.stages import FLEET_METHODS, FURTHER_FLEETS, Rates

#: The summary of every run, by the key of the run.
Summaries = Mapping[str, Mapping[str, Any]]


def results(summaries: Summaries, best: Rates) -> pa.Table:
    """One row per method and seed: method, seed, setting, and test accuracy of every domain and `mean`, fractions."""
    rows = []
    for method, rate in best.items():
        for seed, summary in _by_seed(summaries, method):
            accuracy = {**summary["accuracy"], "mean": summary["mean_accuracy"]}
            rows.append({"method": method, "seed": seed, "setting": " ".join(at_rate(rate)), **accuracy})
    return pa.Table.from_pylist(rows)


def fleet_results(summaries: Summaries) -> pa.Table:
    """One row per method, fleet and seed, with its mean test accuracy as a fraction."""
    return pa.Table.from_pylist(
        [
            {"method": method, "fleet": fleet, "seed": seed, "mean": summary["mean_accuracy"]}
            for method in FLEET_METHODS
            for fleet in FURTHER_FLEETS
            for seed, summary in _by_seed(summaries, f"{method} {fleet}")
        ]
    )


def markdown(table: pa.Table) -> str:
    """Methods x domains in percent, mean and standard deviation over seeds."""
    frame = table.to_pandas().drop(columns=["seed", "setting"])
    return str(frame.groupby("method", sort=False).agg(_cell).to_markdown())


def fleet_markdown(table: pa.Table) -> str:
    """Methods x fleets in percent, mean and standard deviation over seeds."""
    frame = table.to_pandas().groupby(["method", "fleet"], sort=False)["mean"].agg(_cell).unstack("fleet")
    return str(frame.reindex(table["method"].to_pandas().unique()).fillna("").to_markdown())


def write(summaries: Summaries, best: Rates, out: Path) -> None:
    """Write the tables of the stages that were run into a folder, and print them."""
    chosen = "\n".join(f"- {method}: `{' '.join(at_rate(rate))}`" for method, rate in best.items())
    for name, table, form in (
        ("results", results(summaries, best), markdown),
        ("fleets", fleet_results(summaries), fleet_markdown),
    ):
        if not table.num_rows:
            continue
        pq.write_table(table, out / f"{name}.parquet")
        text = f"{form(table)}\n\nChosen on validation:\n\n{chosen}\n"
        (out / f"{name}.md").write_text(text, encoding="utf-8")
        print(text)


def _by_seed(summaries: Summaries, cell: str) -> list[tuple[int, Mapping[str, Any]]]:
    """The seeds of a cell, in their order, and the summary of each."""
    keys = (key.rpartition("/") for key in summaries)
    return [(seed, summaries[f"{cell}/{seed}"]) for seed in sorted(int(end) for start, _, end in keys if start == cell)]


def _cell(values: pd.Series) -> str:
    percent = 100 * values
    return f"{percent.mean():.1f} ± {percent.std():.1f}"
