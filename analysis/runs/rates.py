"""Learning rates of an experiment of many runs: the same few for every method, one of which it keeps."""

from collections.abc import Mapping, Sequence
from typing import Any


def at_rate(rate: float) -> list[str]:
    """Overrides that set the learning rate of adapters and heads."""
    return [f"training.lr={rate}", f"training.head_lr={rate}"]


def best_rate(rates: Sequence[float], runs: str, summaries: Mapping[str, Mapping[str, Any]]) -> float:
    """The rate whose run has the best mean accuracy; of equal ones the first.

    Args:
        rates: The rates that were tried.
        runs: What the keys of a method's runs begin with; `-RATE` follows.
        summaries: The summary of every run, by its key.
    """
    return max(rates, key=lambda rate: summaries[f"{runs}-{rate}"]["mean_accuracy"])
