"""What many drawn rounds come to: work, layers without a holder, and frozen weights that clients download."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.schema import ExperimentConfig, TrainingConfig
from fedra_ray.cost.workload import Workload, describe
from fedra_ray.federation.allocation import Coverage, DrawnRound
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.steps import step_bound
from fedra_ray.federation.storage import Storage
from fedra_ray.methods.draw import draw_round
from fedra_ray.methods.method import Method

MOST_DRAWS = 20_000  # of a client's layers in one plan: about a second


@dataclass(frozen=True)
class Downloads:
    """Frozen weights that clients download.

    Attributes:
        rounds: How many rounds this counts, from the first one on: all, unless the cohorts are large.
        first: Bytes of the first round.
        total: Bytes of all counted rounds.
        by_client: Mean bytes a round of every client that takes part in one, over those that it takes part in.
    """

    rounds: int
    first: int
    total: int
    by_client: dict[int, float]


def draw_rounds(method: Method, fleet: Fleet, config: ExperimentConfig) -> list[DrawnRound]:
    """The first rounds of an experiment, as many as a plan has time to draw; at least one."""
    first = draw_round(method, fleet, config.seed, 1)
    number = min(config.rounds, max(1, MOST_DRAWS // max(1, len(first.cohort))))
    return [first, *(draw_round(method, fleet, config.seed, index) for index in range(2, number + 1))]


def mean_coverage(method: Method, rounds: list[DrawnRound]) -> Coverage:
    """The coverage of rounds whose cohorts may have other depths each time, as those of dynamic fleets have.

    Where the method does not know the probability of a layer without a holder, it is the share of drawn rounds that
    have one. In a round in which nobody can take part, no layer has one.
    """
    found = [
        method.coverage(drawn.depths, drawn.matrix) if drawn.cohort else Coverage(drawn.matrix.shape[1], 1.0)
        for drawn in rounds
    ]
    if len(set(found)) == 1:
        return found[0]
    chances = [coverage.uncovered > 0 if coverage.probability is None else coverage.probability for coverage in found]
    return Coverage(float(np.mean([coverage.uncovered for coverage in found])), float(np.mean(chances)))


def downloads(method: Method, rounds: list[DrawnRound], storage: Storage) -> Downloads:
    """What the clients of these rounds download if all of them answer.

    Args:
        method: Says which blocks a client runs.
        rounds: From the first one on.
        storage: Before the first one.
    """
    totals = []
    by_client: dict[int, list[int]] = {}
    for drawn in rounds:
        held = (np.flatnonzero(row).tolist() for row in drawn.matrix)
        blocks = {client: {*layers, *method.blocks(layers)} for client, layers in zip(drawn.cohort, held, strict=True)}
        missing = {client: storage.missing(client, wanted) for client, wanted in blocks.items()}
        storage = storage.after(blocks)
        totals.append(sum(missing.values()))
        for client, size in missing.items():
            by_client.setdefault(client, []).append(size)
    means = {client: sum(sizes) / len(sizes) for client, sizes in by_client.items()}
    return Downloads(len(rounds), totals[0], sum(totals), means)


def workloads(
    drawn: DrawnRound,
    method: Method,
    layout: Layout,
    sizes: NDArray[np.int64],
    training: TrainingConfig,
    fetched: Downloads,
) -> list[Workload]:
    """What each client of a round's cohort does.

    Args:
        drawn: The round.
        method: Says what a client trains, runs and sends.
        layout: Says how many bytes that is.
        sizes: How many images each client (clients,) of the fleet has.
        training: Batch size and epochs.
        fetched: What the clients download.
    """
    bound, unsent = step_bound(training, sizes, drawn.cohort), method.unsent(drawn.cohort)

    @cache
    def work(layers: tuple[int, ...], size: int, depth: int) -> Workload:
        sent = [name for name in method.named(layers) if name not in unsent]
        traffic = method.traffic(layout, layers, sent, drawn.number)
        return replace(describe(method, layers, size, bound, training, depth), traffic=traffic)

    held = (tuple(np.flatnonzero(row).tolist()) for row in drawn.matrix)
    rows = zip(drawn.cohort, held, drawn.depths, strict=True)
    return [
        replace(work(layers, int(sizes[client]), depth), fetched=fetched.by_client[client])
        for client, layers, depth in rows
    ]
