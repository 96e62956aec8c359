"""Tables of a comparison: accuracy by method and fleet, paired differences over seeds, and the share of the gap."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.runs.intervals import half_width
from analysis.runs.reading import Run

#: Methods that clients of any memory can take part in, and whose gap to AllLarge is asked for.
OURS = ("partial", "half")
BETTER = (*OURS, "alllarge")
#: Rivals for the floor of that gap: who streams the frozen blocks and trains the last ones, or none.
STREAMED = ("headonly", "suffix")


def results(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per run: fleet (or `any`), method, seed, learning rate and mean test accuracy in percent.

    Args:
        runs: Finished ones, in folders called FLEET/METHOD-SEED, or FLEET/METHOD-RATE.
    """
    rows = []
    for run in runs:
        place = Path(str(run.folder))
        named = {"fleet": place.parent.name, "method": place.name.rpartition("-")[0], "seed": run.config.seed}
        rows.append({**named, "rate": run.config.training.lr, "accuracy": 100 * run.summary["mean_accuracy"]})
    return pd.DataFrame(rows)


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Paired differences over seeds of each of BETTER to every other method, on every fleet.

    Columns: fleet, method, rival, seeds that both have, difference in points, and the half width of its 95 % interval
    (t; not a number for one seed).
    """
    rows = []
    for fleet, wide in _by_fleet(frame).items():
        for method in [name for name in BETTER if name in wide]:
            for rival in [name for name in wide if name != method]:
                values = (wide[method] - wide[rival]).dropna().to_numpy()
                if not len(values):
                    continue
                own = {"fleet": fleet, "method": method, "rival": rival, "seeds": len(values)}
                rows.append({**own, "difference": values.mean(), "half": half_width(values)})
    return pd.DataFrame(rows)


def gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """How much each of OURS closes of the gap between the best of STREAMED and AllLarge, on every fleet.

    Columns: fleet, method, rival (the floor), seeds that all three have, gap in points and how many percent of it are
    closed in the mean (not a number where there is no gap), the lead over its middle in points, paired over seeds, and
    the half width of that one's 95 % interval (t): more than half is shown where the lead is above it.
    """
    rows = []
    for fleet, wide in _by_fleet(frame).items():
        floors = [name for name in STREAMED if name in wide]
        for method in [name for name in OURS if name in wide and "alllarge" in wide and floors]:
            rival = wide[floors].mean().idxmax()
            own, floor, top = wide[[method, rival, "alllarge"]].dropna().to_numpy().T
            if not len(own):
                continue
            gap = (top - floor).mean()
            closed = 100 * (own - floor).mean() / gap if gap > 0 else np.nan
            lead = own - (floor + top) / 2
            place = {"fleet": fleet, "method": method, "rival": rival, "seeds": len(own)}
            rows.append({**place, "gap": gap, "closed": closed, "lead": lead.mean(), "half": half_width(lead)})
    return pd.DataFrame(rows)


def _by_fleet(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The accuracies on every fleet, seeds x methods, with those that hold for any."""
    return {
        fleet: frame[frame["fleet"].isin([fleet, "any"])].pivot(index="seed", columns="method", values="accuracy")
        for fleet in frame["fleet"].unique()
        if fleet != "any"
    }


def markdown(frame: pd.DataFrame) -> str:
    """The tables that there is something for: mean and deviation of methods by fleets, differences, and gaps."""
    cells = frame.groupby(["method", "fleet"], sort=False)["accuracy"].agg(_cell).unstack("fleet").fillna("")
    parts = [cells.to_markdown(disable_numparse=True)]
    for rows, name in ((differences(frame), "difference"), (gaps(frame), "lead")):
        if not rows.empty:
            rows[name] = [_told(*row) for row in zip(rows[name], rows.pop("half"), strict=True)]
            text = rows.map(lambda value: f"{value:.1f}" if isinstance(value, float) else str(value))
            parts.append(text.replace("nan", "").to_markdown(index=False, disable_numparse=True))
    return "\n\n".join(parts)


def _told(mean: float, half: float) -> str:
    return f"{mean:+.1f}" if np.isnan(half) else f"{mean:+.1f} ± {half:.1f}"


def _cell(values: Iterable[float]) -> str:
    array = np.array(list(values))
    spread = f" ± {array.std(ddof=1):.1f}" if len(array) > 1 else ""
    return f"{array.mean():.1f}{spread}"


def write(out: Path, tuned: Iterable[Run], tested: Iterable[Run]) -> str:
    """Write tuning.csv, results.csv and results.md of these runs into a folder; returns the last one's text."""
    results(tuned).to_csv(out / "tuning.csv", index=False)
    frame = results(tested)
    frame.to_csv(out / "results.csv", index=False)
    text = markdown(frame)
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    return text
