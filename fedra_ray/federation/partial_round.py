"""From the updates of some clients to their part of a round. Pure, and streaming: one update at a time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from fedra_ray.config.errors import ClientLostError
from fedra_ray.config.schema import AggregationConfig
from fedra_ray.federation.aggregation import unusable
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ClientFailure, ClientReport, ClientUpdate
from fedra_ray.federation.reduction import Reduction
from fedra_ray.federation.state import Arrays, Vector


@dataclass
class PartialRound:
    """What some clients add to a round. Sums are exact, so it does not matter which clients these are.

    Attributes:
        total: What their updates add up to; None where there are failures alone.
        reports: One report for every update in it.
        kept: What these clients keep for their next round, by client; only of those that keep anything.
        rejected: Clients whose updates are not to be averaged, with the reason.
        failures: Clients that have no update.
    """

    total: Reduction | None = None
    reports: list[ClientReport] = field(default_factory=list)
    kept: dict[int, Arrays] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)
    failures: list[ClientFailure] = field(default_factory=list)

    def merge(self, other: "PartialRound") -> None:
        """Take in what other clients add."""
        if self.total is not None and other.total is not None:
            self.total.merge(other.total)
        self.reports += other.reports
        self.kept |= other.kept
        self.rejected |= other.rejected
        self.failures += other.failures


def reduce(
    answers: Iterable[ClientUpdate | ClientFailure],
    total: Reduction,
    layout: Layout,
    config: AggregationConfig,
    values: Vector,
) -> PartialRound:
    """Put updates together as they come, and keep none of them.

    Args:
        answers: Of clients, in any order.
        total: An empty reduction of the method's kind; the result has it.
        layout: How updates lie in the flat vector.
        config: The setting max_norm.
        values: The global adapter that the clients began with, flat.
    """
    partial = PartialRound(total)
    for answer in answers:
        if isinstance(answer, ClientFailure):
            partial.failures.append(answer)
            continue
        client = answer.task.client
        problem = fault(answer, layout, config, values)
        if problem is None:
            try:
                total.add(answer)
            except ValueError as error:
                problem = str(error)
        if problem is not None:
            partial.rejected[client] = problem
            continue
        partial.reports.append(answer.report())
        if answer.kept:
            partial.kept[client] = answer.kept
    return partial


def gather(parts: Iterable[PartialRound], total: Reduction, on_failure: str, attempts: int) -> PartialRound:
    """The whole round from its parts, as they arrive.

    Args:
        parts: In any order.
        total: An empty reduction of the method's kind; the result has it.
        on_failure: `on_client_failure`: fail, or drop.
        attempts: How often a client that has failed was tried.

    Raises:
        ClientLostError: for a client that failed on every attempt, unless such clients are to be dropped.
    """
    whole = PartialRound(total)
    for part in parts:
        for failure in part.failures:
            if on_failure == "fail":
                raise ClientLostError(failure.task.round, [failure.task.client], attempts, failure.error.strip())
        whole.merge(part)
    return whole


def fault(update: ClientUpdate, layout: Layout, config: AggregationConfig, values: Vector) -> str | None:
    """Why an update must not be averaged, or None; the arguments are those of `reduce`."""
    task = update.task
    problem = unusable(update.values, task.total_weight)
    if problem is not None or config.max_norm is None:
        return problem
    previous = layout.pack(values, layout.held(task.layers, task.sent))
    norm = float(np.linalg.norm(update.values.astype(np.float64) - previous))
    return f"norm {norm:.3g} beyond aggregation.max_norm={config.max_norm:g}" if norm > config.max_norm else None
