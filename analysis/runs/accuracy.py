"""Mean accuracy of runs, round by round."""

from collections.abc import Sequence

import pandas as pd

from analysis.runs.groups import collect
from analysis.runs.reading import Run


def by_round(run: Run) -> pd.DataFrame:
    """A row per evaluated round: round, and accuracy, the mean of the domains' top-1 as a fraction."""
    found = run.table("evaluations").groupby("round")["top1"].mean()
    return found.rename("accuracy").reset_index()


def of_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per run and evaluated round: label, fleet, seed, round, accuracy."""
    return collect(runs, by_round)
