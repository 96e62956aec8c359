"""What travels between server and clients. Plain values and numpy arrays, so that any transport can carry them."""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClientTask:
    """One client's work in one round.

    Attributes:
        round: Number of the round, from 1.
        client: Number of the client.
        layers: Indices of the layers it holds, ascending: a row of the allocation matrix.
        heads: Names of the heads it holds.
        progress: round divided by the number of rounds, for losses that change over time.
        max_steps: The most local steps it may take; None for no bound.
        images: How many images its steps take together: with the layers, how long it will train.
        weight: Of its update in the average.
        total_weight: Of the whole cohort.
    """

    round: int
    client: int
    layers: tuple[int, ...]
    heads: tuple[str, ...]
    progress: float
    max_steps: int | None = None
    images: int = 1
    weight: int = 1
    total_weight: int = 1

    @property
    def work(self) -> int:
        """How much there is to train: layers times images."""
        return max(1, len(self.layers)) * self.images


@dataclass(frozen=True)
class ClientReport:
    """What records say of a client's part in a round.

    Attributes:
        task: What it was asked to do.
        traffic: Bytes of the trained values that it sent.
        examples: Number of its training images.
        steps: Local steps taken.
        loss: Mean training loss over the steps.
        seconds: Time spent in training.
        skipped: Name and error of every image that could not be read and was left out.
        slot: Number of the actor that trained it.
        attempt: 1, or more after failures.
    """

    task: ClientTask
    traffic: int
    examples: int
    steps: int
    loss: float
    seconds: float
    skipped: tuple[tuple[str, str], ...] = ()
    slot: int = 0
    attempt: int = 1


@dataclass(frozen=True)
class ClientUpdate(ClientReport):
    """What a client sends back.

    Attributes:
        values: The trained segments that it holds, one after another (float32).
    """

    values: NDArray[np.float32] = field(kw_only=True)

    def report(self) -> ClientReport:
        """All but the values."""
        return ClientReport(**{each.name: getattr(self, each.name) for each in fields(ClientReport)})


@dataclass(frozen=True)
class ClientFailure:
    """A client whose training raised an error, with the error's text."""

    task: ClientTask
    error: str


@dataclass(frozen=True)
class Score:
    """Accuracy of a global model on one domain and split; counts, so that they add up exactly.

    Attributes:
        domain: Name of the domain.
        split: validation or test.
        examples: Number of images.
        top1: How many had the highest score on their label.
        top5: How many had their label among the five highest scores.
        loss: Mean cross entropy.
        skipped: Name and error of every image that could not be read and was left out.
    """

    domain: str
    split: str
    examples: int
    top1: int
    top5: int
    loss: float
    skipped: tuple[tuple[str, str], ...] = ()
