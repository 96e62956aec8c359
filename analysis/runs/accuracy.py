"""Mean accuracy of runs, round by round."""

from collections.abc import Sequence

import pandas as pd

from analysis.runs.groups import collect
from analysis.runs.reading import Run


def by_round(run: Run) -> pd.DataFrame:
    """One row per evaluated round: round, and accuracy, the mean of the domains' top-1 as a fraction."""
    means = run.table("evaluations").groupby("round")["top1"].mean()
    return means.rename("accuracy").reset_index()


def of_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run and evaluated round: the columns of `analysis.runs.groups.KEY`, round, accuracy."""
    return collect(runs, by_round)
