"""From the updates of some clients to their part of a round's average. Pure, and streaming: an update at a time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedra_ray.aggregation import MaskedSum
from fedra_ray.blueprint import Blueprint
from fedra_ray.messages import ClientFailure, ClientReport, ClientUpdate
from fedra_ray.methods.method import Method
from fedra_ray.reliability import fault


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
