"""Quantities as people read them, and the mean accuracy of a model."""

from collections.abc import Collection
from datetime import timedelta


def scaled(value: float, unit: str = "") -> str:
    """Three significant digits with a decimal prefix: 1.85 GB."""
    power = 0
    while value >= 999.5 and power < 6:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}{unit}".strip()


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, and days where there are any: 0:03:05; 2 days, 1:00:00."""
    return str(timedelta(seconds=round(seconds)))


def duration(seconds: float) -> str:
    """3.2 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours:,} h {left:02} min" if hours else f"{minutes} min {rest:02} s"


def metric_name(name: str) -> str:
    """The name of a metric for people."""
    return {"macro_f1": "macro F1", "matthews": "Matthews"}.get(name, name.replace("_", " "))


def metric_value(value: float | None) -> str:
    """A metric as a number; empty if there is none."""
    return "" if value is None else f"{value:.3f}"


def mean_over_domains(accuracies: Collection[float]) -> float:
    """The mean accuracy of a model: every domain counts equally, whatever its number of images.

    Args:
        accuracies: Top-1 accuracy on each domain; at least one.
    """
    return sum(accuracies) / len(accuracies)
