"""What travels between server and clients. Plain values and numpy arrays, so that any transport can carry them."""

from dataclasses import dataclass

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
    """

    round: int
    client: int
    layers: tuple[int, ...]
    heads: tuple[str, ...]
    progress: float
    max_steps: int | None = None


@dataclass(frozen=True)
class ClientUpdate:
    """What a client sends back.

    Attributes:
        task: What it was asked to do.
        values: The trained segments that it holds, one after another (float32).
        examples: Number of its training images.
        steps: Local steps taken.
        loss: Mean training loss over the steps.
        seconds: Time spent in training.
        skipped: Name and error of every image that could not be read and was left out.
        slot: Number of the actor that trained it.
        attempt: 1, or more after failures.
    """

    task: ClientTask
    values: NDArray[np.float32]
    examples: int
    steps: int
    loss: float
    seconds: float
    skipped: tuple[tuple[str, str], ...] = ()
    slot: int = 0
    attempt: int = 1


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
