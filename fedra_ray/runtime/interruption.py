"""SIGTERM, which clusters and `ray job stop` send before they kill, handled like the interruption by a person."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` in the main thread; elsewhere, where Python allows no handlers, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = False

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        arrived = True
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as interruption:
        if arrived and not isinstance(interruption, Terminated):  # a signal during one of Ray's calls leaves it as such
            raise Terminated from interruption
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
