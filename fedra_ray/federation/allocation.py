"""Who holds which layer: the allocation matrix M (clients, layers), bool, true where client k trains layer l.

Pure functions of depths, the number of layers and a random generator. FedRA, arXiv 2311.11227, section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.bool_]


@dataclass(frozen=True)
class DrawnRound:
    """What is drawn for a round, from the seed and the round's number alone.

    Attributes:
        number: Number of the round, from 1.
        cohort: Its clients, ascending.
        depths: How many blocks each client of the cohort can hold.
        matrix: The allocation matrix, bool (cohort, layers).
    """

    number: int
    cohort: list[int]
    depths: list[int]
    matrix: Matrix


@dataclass(frozen=True)
class Coverage:
    """How many layers of the evaluated model a round leaves without a holder.

    Attributes:
        uncovered: Their expected number, or that of one draw.
        probability: That there is at least one; None if `uncovered` comes from one draw.
    """

    uncovered: float
    probability: float | None


def uniform(depths: list[int], num_layers: int, rng: np.random.Generator) -> Matrix:
    """Each client's row is a uniform draw of exactly its depth of the layers, without replacement."""
    matrix = np.zeros((len(depths), num_layers), dtype=bool)
    for row, depth in zip(matrix, depths, strict=True):
        row[rng.choice(num_layers, size=depth, replace=False)] = True
    return matrix


def prefix(depths: list[int], num_layers: int) -> Matrix:
    """Each client of depth d holds the first d layers (depth-wise methods)."""
    return np.arange(num_layers) < np.asarray(depths)[:, None]


def suffix(depths: list[int], num_layers: int) -> Matrix:
    """Each client holds the last of the layers, as many as its depth."""
    return np.arange(num_layers) >= num_layers - np.asarray(depths)[:, None]


def window(depths: list[int], num_layers: int, rng: np.random.Generator) -> Matrix:
    """Each client holds consecutive layers, as many as its depth; every place is equally likely."""
    first = rng.integers(num_layers + 1 - np.asarray(depths))[:, None]
    layers = np.arange(num_layers)
    inside: Matrix = (layers >= first) & (layers < first + np.asarray(depths)[:, None])
    return inside


def anchored(depths: list[int], num_layers: int, rng: np.random.Generator, anchors: Sequence[int]) -> Matrix:
    """Each client holds the anchors, and of the others a systematic sample, which keeps the gaps between layers short.

    Every layer that is no anchor is equally likely; the places of the sample are (i + u) n / k, i = 0, 1, ..., rounded
    down, with one u uniform in [0, 1) for n layers and a sample of k. A client with fewer layers than there are anchors
    holds the first of these.

    Args:
        depths: Depth of every client of the cohort.
        num_layers: Layers of the full model.
        rng: Of the round.
        anchors: Layers, the most important first.
    """
    matrix = np.zeros((len(depths), num_layers), dtype=bool)
    others = np.setdiff1d(np.arange(num_layers), anchors)
    for row, depth in zip(matrix, depths, strict=True):
        row[list(anchors[:depth])] = True
        count = max(0, depth - len(anchors))
        places = (np.arange(count) + rng.random()) * (len(others) / max(1, count))
        row[others[np.minimum(places.astype(int), len(others) - 1)]] = True
    return matrix


def weighted(depths: list[int], weights: NDArray[np.float64], rng: np.random.Generator) -> Matrix:
    """Each client's layers are drawn one after another without replacement, with probabilities as these weights.

    Args:
        depths: Depth of every client of the cohort.
        weights: Of each layer (layers,), greater than 0.
        rng: Of the round.
    """
    matrix = np.zeros((len(depths), len(weights)), dtype=bool)
    for row, depth in zip(matrix, depths, strict=True):
        row[rng.choice(len(weights), size=depth, replace=False, p=weights / weights.sum())] = True
    return matrix


def balanced(depths: list[int], num_layers: int, rng: np.random.Generator) -> Matrix:
    """Layers are dealt in turn, in an order drawn anew each round: their numbers of holders differ by at most one.

    Every layer is equally likely for a client, as in `uniform`; no layer is left over while another has two holders.

    Raises:
        ValueError: if a depth exceeds the number of layers.
    """
    if max(depths) > num_layers:
        raise ValueError(f"depths {depths} name a client larger than the {num_layers} layers")
    order = rng.permutation(num_layers)
    matrix = np.zeros((len(depths), num_layers), dtype=bool)
    start = 0
    for row, depth in zip(matrix, depths, strict=True):
        row[order[np.arange(start, start + depth) % num_layers]] = True
        start += depth
    return matrix


def covering(depths: list[int], num_layers: int, rng: np.random.Generator) -> Matrix:
    """A draw of `uniform` given that no layer is left without a holder.

    Has the distribution that redrawing until every layer is covered would have, in one pass: with u layers still
    uncovered, a client covers j of them with probability proportional to C(u, j) C(L - u, d - j) times the number of
    ways in which the clients after it can cover the other u - j.

    Raises:
        ValueError: if no such matrix exists: the depths sum to less than the number of layers, or one exceeds it.
    """
    if max(depths) > num_layers:
        raise ValueError(f"depths {depths} name a client larger than the {num_layers} layers")
    if sum(depths) < num_layers:
        raise ValueError(f"depths {depths} sum to {sum(depths)}, too few to cover {num_layers} layers")
    ways = _ways_to_cover(depths, num_layers)
    matrix = np.zeros((len(depths), num_layers), dtype=bool)
    for client, depth in enumerate(depths):
        uncovered = np.flatnonzero(~matrix.any(axis=0))
        covered = np.flatnonzero(matrix.any(axis=0))
        u = len(uncovered)
        weights = [
            comb(u, j) * comb(len(covered), depth - j) * ways[client + 1][u - j] for j in range(min(u, depth) + 1)
        ]
        fresh = _weighted_choice(weights, rng)
        matrix[client, rng.choice(uncovered, size=fresh, replace=False)] = True
        matrix[client, rng.choice(covered, size=depth - fresh, replace=False)] = True
    return matrix


def drawn_coverage(matrix: Matrix) -> Coverage:
    """How many layers one drawn matrix leaves without a holder."""
    return Coverage(int(np.count_nonzero(~matrix.any(axis=0))), None)


def expected_uncovered(depths: list[int], num_layers: int) -> tuple[float, float]:
    """How often `uniform` leaves layers without a holder, which keep their global value (FedRA, section 3).

    Args:
        depths: Depth of every client of the cohort.
        num_layers: Layers L of the full model.

    Returns:
        The expected number of layers without a holder, L prod_k (1 - d_k / L), and the probability of at least one,
        by inclusion and exclusion over the matrices that leave j given layers free: sum_j (-1)^(j+1) C(L, j)
        prod_k C(L - j, d_k) / C(L, d_k). Both are exact up to the last rounding.
    """
    matrices = prod(comb(num_layers, depth) for depth in depths)
    expected = num_layers * prod(comb(num_layers - 1, depth) for depth in depths)
    leaving = sum(
        (-1) ** (j + 1) * comb(num_layers, j) * prod(comb(num_layers - j, depth) for depth in depths)
        for j in range(1, num_layers + 1)
    )
    return expected / matrices, leaving / matrices


def layer_coverage(holders: Sequence[int]) -> float:
    """The share of layers, from 0 to 1, that at least one client held.

    Args:
        holders: How many clients held each layer.
    """
    return sum(count > 0 for count in holders) / len(holders)


def _ways_to_cover(depths: list[int], num_layers: int) -> list[list[int]]:
    """ways[k][u]: in how many ways clients k, k+1, ... can draw their layers so that u given layers are covered."""
    ways = [[1] + [0] * num_layers]
    for depth in reversed(depths):
        after = ways[0]
        row = [
            sum(comb(u, j) * comb(num_layers - u, depth - j) * after[u - j] for j in range(min(u, depth) + 1))
            for u in range(num_layers + 1)
        ]
        ways.insert(0, row)
    return ways


def _weighted_choice(weights: list[int], rng: np.random.Generator) -> int:
    """An index drawn in proportion to integer weights, which may exceed 64 bits."""
    total = sum(weights)
    threshold = rng.random()
    running = 0
    for index, weight in enumerate(weights):
        running += weight
        if threshold < running / total:
            return index
    raise AssertionError("the last running share is 1, above every random number in [0, 1)")
