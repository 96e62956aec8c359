"""The report of a round, and the outcome of an experiment."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from fedra_ray.federation.messages import ClientReport, Score
from fedra_ray.federation.state import Vector


@dataclass(frozen=True)
class Missing:
    """The clients of a cohort whose updates are not in the average, and why.

    Attributes:
        dropped: Those that did not answer, or failed on every attempt.
        late: Those that answered after the deadline.
        rejected: Those whose updates must not be averaged, with the reason.
    """

    dropped: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)

    def clients(self) -> list[int]:
        """All of them."""
        return [*self.dropped, *self.late, *self.rejected]


@dataclass(frozen=True)
class RoundReport:
    """A finished round in numbers.

    Attributes:
        round: Its number, from 1.
        seconds: Wall time of drawing, training and aggregating.
        cohort: Its clients, ascending.
        layer_holders: How many averaged clients trained each layer.
        loss: Mean training loss of the averaged clients; not a number if there is none.
        bytes_up: Bytes that they sent.
        bytes_down: Bytes that they received.
        bytes_fetched: Bytes of frozen weights that they downloaded.
        missing: The clients of the cohort whose updates are not in the average.
        simulated_s: Its seconds on simulated devices; None without them.
        retries: Further attempts that its averaged clients took.
        busy: Sum of the seconds for which its averaged clients trained.
        scores: One score per domain if the round was evaluated, else none.
        phases: Seconds of wall time by phase: allocation, training, aggregation, and, while the next round's clients
            train, the wait for evaluation and the checkpoint.
    """

    round: int
    seconds: float
    cohort: list[int]
    layer_holders: list[int]
    loss: float
    bytes_up: int
    bytes_down: int
    bytes_fetched: int
    missing: Missing
    simulated_s: float | None
    retries: int
    busy: float
    scores: list[Score]
    phases: dict[str, float]


@dataclass(frozen=True)
class Notice:
    """What a person should know of how the experiment is carried out, in one line."""

    text: str


@dataclass(frozen=True)
class Outcome:
    """The end of an experiment: the global adapter (`Layout.size`,), float32, and one score per domain."""

    values: Vector
    scores: list[Score]


def layer_holders(clients: Sequence[ClientReport], num_layers: int) -> list[int]:
    """How many of these clients trained each layer."""
    counts = Counter(chain.from_iterable(client.task.layers for client in clients))
    return [counts[layer] for layer in range(num_layers)]


def mean_loss(clients: Sequence[ClientReport]) -> float:
    """Mean training loss over clients, added up in the order of their numbers; not a number if there is none."""
    losses = [client.loss for client in sorted(clients, key=lambda client: client.task.client)]
    return float(sum(losses) / len(losses)) if losses else float("nan")
