"""From the updates of some clients to their part of a round's average. Pure, and streaming: an update at a time."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.schema import AggregationConfig
from fedra_ray.federation.aggregation import LARGEST_SUM, MaskedSum, magnitude
from fedra_ray.federation.messages import ClientFailure, ClientReport, ClientUpdate
from fedra_ray.methods.method import Method

Vector = NDArray[np.float32]


@dataclass
class PartialRound:
    """What some clients add to a round. Sums are exact, so it does not matter which clients these are.

    Attributes:
        sums: Masked sums of the updates, by the method's groups.
        reports: A report for every update in a sum.
        rejected: Clients whose updates are not to be averaged, with the reason.
        failures: Clients that have no update.
    """

    sums: dict[int, MaskedSum] = field(default_factory=dict)
    reports: list[ClientReport] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    failures: list[ClientFailure] = field(default_factory=list)

    def merge(self, other: "PartialRound") -> None:
        """Take in what other clients add."""
        for group, total in other.sums.items():
            self.sums.setdefault(group, MaskedSum(total.segments)).merge(total)
        self.reports += other.reports
        self.rejected |= other.rejected
        self.failures += other.failures


def reduce(
    answers: Iterable[ClientUpdate | ClientFailure], blueprint: Blueprint, method: Method, values: NDArray[np.float32]
) -> PartialRound:
    """Sum updates as they come, and keep none of them.

    Args:
        answers: Of clients, in any order.
        blueprint: Of the experiment.
        method: Tells which updates are summed together.
        values: The global adapter that the clients began with.
    """
    partial, layout, config = PartialRound(), blueprint.layout, blueprint.config.aggregation
    for answer in answers:
        if isinstance(answer, ClientFailure):
            partial.failures.append(answer)
            continue
        task = answer.task
        held = layout.held(task.layers, task.heads)
        previous = layout.pack(values, held) if config.max_norm is not None else None
        problem = fault(answer.values, previous, config, task.total_weight)
        if problem is not None:
            partial.rejected[task.client] = problem
            continue
        group = partial.sums.setdefault(method.group(task.layers), MaskedSum(layout.segments))
        group.add(held, answer.values, task.weight)
        partial.reports.append(answer.report())
    return partial


def fault(values: Vector, previous: Vector | None, config: AggregationConfig, total_weight: int) -> str | None:
    """Why an update must not be averaged, or None.

    Args:
        values: The client's segments.
        previous: The same segments before the round; not looked at without a max_norm.
        config: Its max_norm.
        total_weight: Of the whole cohort; the exact sum has room for so many values of limited magnitude.
    """
    largest = magnitude(values)
    if not math.isfinite(largest):
        return "not finite"
    if largest * total_weight >= LARGEST_SUM:
        return f"a value of {largest:.3g}, beyond {LARGEST_SUM / total_weight:.3g}"
    if config.max_norm is not None and previous is not None:
        norm = float(np.linalg.norm(values.astype(np.float64) - previous))
        if norm > config.max_norm:
            return f"norm {norm:.3g} beyond aggregation.max_norm={config.max_norm:g}"
    return None
