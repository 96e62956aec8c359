"""Waiting for actors or tasks that have no room yet: told after half a minute, and ended after `runtime.wait_s`."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedra_ray.config.errors import RunFailedError
from fedra_ray.runtime.connection import capacity
from fedra_ray.runtime.placement import SlotSpec

_QUIET_SECONDS = 30.0
_REPEAT_SECONDS = 60.0


@dataclass(frozen=True)
class Stall:
    """A run in which no actor works, because those that could have not started.

    Attributes:
        seconds: How long that has been so.
        wanted: The actors that have not started, in words.
    """

    seconds: float
    wanted: str


class NoRoomError(RunFailedError):
    """Actors have not started in all the time that the configuration gives them."""


class Patience:
    """Tells people that nothing goes on but waiting, and what for, and ends it at some time.

    Args:
        limit: Seconds after which it ends; None for never.
        say: Told what is waited for.
        setting: Name of the setting that states the limit.
    """

    def __init__(self, limit: float | None, say: Callable[[str], None], setting: str = "runtime.wait_s") -> None:
        self._limit = limit
        self._setting = setting
        self._say = say
        self._said = -math.inf

    def look(self, stalls: Sequence[Stall | None]) -> None:
        """Take in how every run is at the moment: with None for one of them, which goes on, nobody waits in vain.

        Raises:
            NoRoomError: if they have waited for long enough.
        """
        waiting = [stall for stall in stalls if stall is not None]
        if not waiting or len(waiting) < len(stalls):
            return
        shortest = min(waiting, key=lambda stall: stall.seconds)
        if self._limit is not None and shortest.seconds >= self._limit:
            raise NoRoomError(f"{_told(shortest)}; {self._setting}={self._limit:g} allows no more")
        now = time.monotonic()
        if shortest.seconds >= _QUIET_SECONDS and now - self._said >= _REPEAT_SECONDS:
            self._said = now
            self._say(_told(shortest))


def in_words(specs: Sequence[SlotSpec]) -> str:
    """Client actors by what they reserve."""
    kinds = Counter((spec.num_cpus, spec.num_gpus, spec.label) for spec in specs)
    parts = []
    for (cpus, gpus, label), number in kinds.items():
        where = f" on nodes labelled tier={label}" if label else ""
        parts.append(f"{number} with {cpus:g} CPUs and {gpus:g} GPUs{where}")
    return f"client actors, {', '.join(parts)}"


def _told(stall: Stall) -> str:
    return f"waited {stall.seconds:.0f} s for the start of {stall.wanted}; {capacity()}"
