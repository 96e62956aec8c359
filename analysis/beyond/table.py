"""Tables of a comparison: accuracy by method and fleet, and paired differences over seeds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.runs.intervals import half_width

BETTER = ("partial", "half", "alllarge")


def results(summaries: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row per run: fleet (or `any`), method, seed and mean test accuracy in percent.

    Args:
        summaries: Of the runs, by their keys test/FLEET/METHOD-SEED.
    """
    rows = []
    for key, summary in summaries.items():
        _, fleet, name = key.split("/")
        method, _, seed = name.rpartition("-")
        row = {"fleet": fleet, "method": method, "seed": int(seed), "accuracy": 100 * summary["mean_accuracy"]}
        rows.append(row)
    return pd.DataFrame(rows)


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Paired differences over seeds of each of BETTER to every other method, on every fleet.

    Columns: fleet, method, rival, seeds, difference in points, and the half width of its 95 % interval (t).
    """
    fleets = [fleet for fleet in frame["fleet"].unique() if fleet != "any"]
    rows = []
    for fleet in fleets:
        wide = frame[frame["fleet"].isin([fleet, "any"])].pivot(index="seed", columns="method", values="accuracy")
        for method in [name for name in BETTER if name in wide]:
            for rival in [name for name in wide if name != method]:
                values = (wide[method] - wide[rival]).dropna().to_numpy()
                own = {"fleet": fleet, "method": method, "rival": rival, "seeds": len(values)}
                rows.append({**own, "difference": values.mean(), "half": half_width(values)})
    return pd.DataFrame(rows)


def markdown(frame: pd.DataFrame) -> str:
    """Both tables: methods by fleets, mean and deviation over seeds; and differences."""
    cells = frame.groupby(["method", "fleet"], sort=False)["accuracy"].agg(_cell).unstack("fleet").fillna("")
    rows = differences(frame)
    if rows.empty:
        return str(cells.to_markdown())
    rows["difference"] = [f"{d:+.1f} ± {h:.1f}" for d, h in zip(rows["difference"], rows.pop("half"), strict=True)]
    return f"{cells.to_markdown()}\n\n{rows.to_markdown(index=False)}"


def _cell(values: Iterable[float]) -> str:
    array = np.array(list(values))
    spread = f" ± {array.std(ddof=1):.1f}" if len(array) > 1 else ""
    return f"{array.mean():.1f}{spread}"


def write(out: Path, summaries: dict[str, dict[str, Any]]) -> str:
    """Write results.csv and results.md into a folder; returns the latter's text."""
    frame = results(summaries)
    frame.to_csv(out / "results.csv", index=False)
    text = markdown(frame)
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    return text
