"""The properties: each is a method, what it promises, and how far a round is from that."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.conformance import local
from analysis.conformance.problems import INPUTS, LAYERS, RANK, Round, around, play
from fedra_ray.methods.brick import Brick
from fedra_ray.methods.client_ranks import ClientRanks
from fedra_ray.methods.devft import DevFT
from fedra_ray.methods.fedbrick import FedBrick
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Method, Problem

Floats = NDArray[np.float64]
Difference = Callable[[np.random.Generator], float]
PROBLEM = Problem(LAYERS, (1, 2, 3), num_clients=5, rounds=9)


@dataclass(frozen=True)
class Case:
    """A promise of a method.

    Attributes:
        method: Its label.
        promise: In words.
        difference: The largest difference in one random round, relative to the largest value that is compared.
        tolerance: What rounding explains.
    """

    method: str
    promise: str
    difference: Difference
    tolerance: float = 1e-6  # the adapter is float32


def fedra() -> Method:
    """FedRA, whose aggregation is the masked mean."""
    return FedRA(PROBLEM)


def devft() -> Method:
    """DevFT in its last stage."""
    return DevFT(PROBLEM, stages=[LAYERS])


def of_layers(method: Callable[[], Method], expected: Callable[[Round, int], Floats], **round_: bool) -> Difference:
    """How far the weights of held layers are from a formula's (outputs, inputs)."""

    def difference(rng: np.random.Generator) -> float:
        played = play(method(), rng, **round_)
        pairs = [(played.weight(i), expected(played, i)) for i in range(LAYERS) if played.holders(i)[0]]
        return max(float(np.abs(got - want).max() / (np.abs(want).max() + 1e-12)) for got, want in pairs)

    return difference


def mean_factors(played: Round, layer: int) -> Floats:
    """(sum_k p_k B_k)(sum_k p_k A_k)."""
    held, shares = played.holders(layer)
    return _weighted([own.b for own in held], shares) @ _weighted([own.a for own in held], shares)


def mean_product(played: Round, layer: int) -> Floats:
    """sum_k p_k B_k A_k."""
    held, shares = played.holders(layer)
    return _weighted([own.b @ own.a for own in held], shares)


def truncated(product: Floats) -> Floats:
    """The best approximation of rank `RANK`."""
    left, singular, right = np.linalg.svd(product, full_matrices=False)
    best: Floats = (left[:, :RANK] * singular[:RANK]) @ right[:RANK]
    return best


def norm_weighted(played: Round, layer: int) -> Floats:
    """HetLoRA's mean of factors: weights in proportion to p_k ||B_k A_k||_F."""
    held, shares = played.holders(layer)
    weights = shares * [np.linalg.norm(own.b @ own.a) for own in held]
    weights = weights / weights.sum()
    return _weighted([own.b for own in held], weights) @ _weighted([own.a for own in held], weights)


def corrected(played: Round, layer: int) -> Floats:
    """LoRA-FAIR with ridge 0.01, from the normal equations of the dense problem."""
    held, shares = played.holders(layer)
    a, b = _weighted([own.a for own in held], shares), _weighted([own.b for own in held], shares)
    lost = mean_product(played, layer) - b @ a
    correction = lost @ a.T @ np.linalg.inv(a @ a.T + 0.01 * np.eye(RANK))
    changed: Floats = (b + correction) @ a
    return changed


def sliced(ranks: Callable[[int], int]) -> Callable[[Round, int], Floats]:
    """raFLoRA: rank by rank, the mean over the clients that have it, cut back to the rank."""

    def formula(played: Round, layer: int) -> Floats:
        held, shares = played.holders(layer)
        tasks = [update.task for update in played.updates if layer in update.task.layers]
        own = np.array([ranks(len(task.layers)) for task in tasks])
        result: Any = 0.0
        for rank in range(max(own)):
            having = own > rank
            weights = np.where(having, shares, 0) / shares[having].sum()
            result = result + _weighted([np.outer(one.b[:, rank], one.a[rank]) for one in held], weights)
        return truncated(np.asarray(result))

    return formula


def _weighted(values: list[Floats], weights: Floats) -> Floats:
    """A plain loop: the slow reading."""
    result = np.zeros_like(values[0])
    for value, weight in zip(values, weights, strict=True):
        result = result + weight * value
    return result


def by_depth(layers: int) -> int:
    """The ranks of the clients in the cases with ranks that differ."""
    return {1: 1, 2: 3}.get(layers, RANK)


def ranked() -> Method:
    """FedRA with ranks by depth."""
    return ClientRanks(fedra(), {1: 1, 2: 3})


def same_as(method: Callable[[], Method], other: Callable[[], Method]) -> Difference:
    """How far the weights of two methods are from each other after the same round."""

    def difference(rng: np.random.Generator) -> float:
        seed = int(rng.integers(2**31))
        one, two = (play(build(), np.random.default_rng(seed)) for build in (method, other))
        return max(float(np.abs(one.weight(i) - two.weight(i)).max()) for i in range(LAYERS))

    return difference


def unheld(method: Callable[[], Method]) -> Difference:
    """How far layers without a holder moved, in the next round that has one."""

    def difference(rng: np.random.Generator) -> float:
        free: list[int] = []
        while not free:
            played = play(method(), rng)
            free = [i for i in range(LAYERS) if not played.holders(i)[0]]
        moved = np.abs(played.after.values - played.before.values)
        return max(float(moved[played.layout.segments[i]].max()) for i in free)

    return difference


def fixed(name: str, number: int, factor: int) -> Difference:
    """How far a factor (0: A, 1: B) moved in a client's round of this number."""

    def difference(rng: np.random.Generator) -> float:
        state, update = local.train(around(local_fedra(), name), rng, number)
        pairs = [
            (before[factor], moved[factor])
            for layer in local.HELD
            for before, moved in zip(
                local.factors(state.values, layer), local.factors(local.after(state, update), layer), strict=True
            )
        ]
        return max(float(np.abs(before - moved).max()) for before, moved in pairs)

    return difference


def trains_as(method: Callable[[Method], Method]) -> Difference:
    """How far a client's update is from that of plain local SGD."""

    def difference(rng: np.random.Generator) -> float:
        seed = int(rng.integers(2**31))
        updates = [
            local.train(build(local_fedra()), np.random.default_rng(seed))[1].values
            for build in (method, lambda own: own)
        ]
        return float(np.abs(updates[0] - updates[1]).max())

    return difference


def without_gaps(rng: np.random.Generator) -> float:
    """How far a FedBRICK client that holds all layers is from plain SGD, without the second stage and the pulls."""
    seed, held = int(rng.integers(2**31)), tuple(range(local.LAYERS))
    problem = Problem(local.LAYERS, (local.LAYERS,), num_domains=1)
    neutral = FedBrick(problem, stages=1, pull_bricks=0.0, pull_adapter=0.0)
    updates = [
        local.train(method, np.random.default_rng(seed), held=held)[1].values for method in (neutral, FedRA(problem))
    ]
    return float(np.abs(updates[0] - updates[1]).max())


def stand_in(rng: np.random.Generator) -> float:
    """How far a BRICK is from E(x) = x * softmax(B1 A1 x) + B2 A2 x + x, a token at a time."""
    brick = Brick(INPUTS, RANK)
    factors = [0.5 * rng.standard_normal(each.shape) for each in brick.parameters()]
    for parameter, values in zip(brick.parameters(), factors, strict=True):
        parameter.data = torch.tensor(values, dtype=torch.float32)
    a1, a2, b1, b2 = factors
    tokens = rng.standard_normal((2, 3, INPUTS))
    expected = np.empty_like(tokens)
    for index in np.ndindex(2, 3):
        x = tokens[index]
        scores = np.exp(b1 @ a1 @ x)
        expected[index] = x * scores / scores.sum() + b2 @ a2 @ x + x
    got = brick(torch.tensor(tokens, dtype=torch.float32)).detach().numpy()
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def local_fedra() -> Method:
    """FedRA for the tiny model."""
    return FedRA(Problem(local.LAYERS, (2,)))


def aggregation(name: str, inner: Callable[[], Method] = fedra, **options: object) -> Callable[[], Method]:
    """A LoRA aggregation or server optimiser around FedRA."""
    return lambda: around(inner(), name, **options)


FLEXLORA, FEDEX, FLORA = "flexlora.FlexLora", "fedexlora.FedExLora", "flora.Flora"
FAIR, HETLORA, RAFLORA = "lorafair.LoraFair", "hetlora.HetLora", "raflora.RaFlora"
SERVERS = {
    "FlexLoRA": FLEXLORA,
    "FedEx-LoRA": FEDEX,
    "FLoRA": FLORA,
    "LoRA-FAIR": FAIR,
    "HetLoRA": HETLORA,
    "raFLoRA": RAFLORA,
}
CASES = [
    Case("FedRA", "factors are the masked means of the holders'", of_layers(fedra, mean_factors)),
    Case("FedRA", "a layer without a holder keeps its factors", unheld(fedra), 0.0),
    *(
        Case(label, "a layer without a holder keeps its factors", unheld(aggregation(name)), 0.0)
        for label, name in SERVERS.items()
    ),
    *(
        Case(label, "equal updates give that update", of_layers(aggregation(name), mean_product, alike=True))
        for label, name in SERVERS.items()
    ),
    Case(
        "FlexLoRA",
        "the truncated SVD of the dense mean product",
        of_layers(aggregation(FLEXLORA), lambda played, i: truncated(mean_product(played, i))),
    ),
    Case("FedEx-LoRA", "the mean of the clients' weights", of_layers(aggregation(FEDEX), mean_product)),
    Case("FLoRA", "the mean of the clients' weights", of_layers(aggregation(FLORA), mean_product)),
    Case("LoRA-FAIR", "the normal equations of the dense problem", of_layers(aggregation(FAIR), corrected)),
    Case("HetLoRA", "the norm-weighted mean of padded factors", of_layers(aggregation(HETLORA, ranked), norm_weighted)),
    Case("raFLoRA", "the mean of each rank over its owners", of_layers(aggregation(RAFLORA, ranked), sliced(by_depth))),
    Case("raFLoRA", "of equal ranks, FlexLoRA", same_as(aggregation(RAFLORA), aggregation(FLEXLORA))),
    Case("FFA-LoRA", "A does not move on clients", fixed("ffalora.FfaLora", 1, 0), 0.0),
    Case("RoLoRA", "A does not move in odd rounds", fixed("rolora.RoLora", 1, 0), 0.0),
    Case("RoLoRA", "B does not move in even rounds", fixed("rolora.RoLora", 2, 1), 0.0),
    Case(
        "FedSA-LoRA",
        "a client's first round is plain SGD",
        trains_as(lambda own: around(own, "fedsalora.FedSaLora")),
        0.0,
    ),
    Case("DevFT-like", "where all hold everything, averaging", of_layers(devft, mean_factors, whole=True)),
    Case("FedBRICK", "a BRICK is E(x), a token at a time", stand_in),
    Case("FedBRICK", "without gaps, second stage and pulls, plain SGD", without_gaps, 1e-5),
    Case("FedProx", "without its term, plain SGD", trains_as(lambda own: around(own, "fedprox.FedProx", mu=0.0)), 0.0),
    Case("SCAFFOLD", "in the first round, plain SGD", trains_as(lambda own: around(own, "scaffold.Scaffold")), 0.0),
    Case(
        "FedAvgM",
        "without momentum, averaging",
        same_as(aggregation("fedavgm.FedAvgM", lr=1.0, momentum=0.0), fedra),
    ),
]
