"""Which clients of a cohort do not answer in a round, or answer too late. Pure functions."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.schema import FleetConfig
from fedra_ray.federation.seeding import Purpose, generator

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Responses:
    """How the clients of a cohort answer in a round.

    Attributes:
        dropped: Those that do not answer.
        late: Those of the others that answer after the deadline.
        seconds: Simulated time until each client's answer; empty if no devices are simulated.
        deadline: Simulated time at which the server stops waiting; may be infinite.
    """

    dropped: list[int]
    late: list[int]
    seconds: dict[int, float]
    deadline: float

    def in_time(self, client: int) -> bool:
        """Whether the client answers, and before the deadline."""
        return client not in self._absent

    @cached_property
    def _absent(self) -> frozenset[int]:
        return frozenset([*self.dropped, *self.late])

    def duration(self, missing: Collection[int]) -> float | None:
        """Simulated seconds of the round; None if no devices are simulated, or the cohort is empty.

        It lasts until the slowest answer, and until the deadline if there is one and an answer is missing. Without a
        deadline the server learns at once that a client has dropped out.
        """
        if not self.seconds:
            return None
        answered = [seconds for client, seconds in self.seconds.items() if client not in missing]
        waited = [self.deadline] if missing and math.isfinite(self.deadline) else []
        return max(answered + waited, default=0.0)


def respond(
    config: FleetConfig, cohort: list[int], seed: int, round_number: int, seconds: list[float] | None = None
) -> Responses:
    """Who of a cohort drops out of the round, and who of the others answers too late.

    A client's time is its device's times exp(straggler_spread z), z standard normal: log-normal, as response times
    are. Without simulated devices all of them take equally long. The deadline is `round_deadline` times the median
    of the devices' times in this cohort.

    Args:
        config: The settings dropout, straggler_spread and round_deadline.
        cohort: The clients of the round.
        seed: Seed of the experiment.
        round_number: Number of the round, from 1.
        seconds: What the round takes on each client's device, in the order of the cohort; None without devices.
    """
    rng = generator(seed, Purpose.RELIABILITY, round_number)
    absent = rng.random(len(cohort)) < config.dropout
    factors = np.exp(config.straggler_spread * rng.standard_normal(len(cohort)))
    usual = np.ones(len(cohort)) if seconds is None else np.asarray(seconds)
    times = usual * factors
    deadline = math.inf if config.round_deadline is None or not cohort else config.round_deadline * np.median(usual)
    clients = np.asarray(cohort, dtype=np.int64)
    return Responses(
        dropped=clients[absent].tolist(),
        late=clients[~absent & (times > deadline)].tolist(),
        seconds={} if seconds is None else dict(zip(cohort, times.tolist(), strict=True)),
        deadline=float(deadline),
    )
