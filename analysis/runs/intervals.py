"""Intervals of means over few runs."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


def half_width(values: NDArray[np.float64]) -> float:
    """Half the width of the 95 % interval (Student's t) of a mean; not a number for a single value."""
    if len(values) < 2:
        return float("nan")
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(quantile * values.std(ddof=1) / np.sqrt(len(values)))
