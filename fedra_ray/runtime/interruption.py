"""SIGTERM, which clusters and `ray job stop` send before they kill, handled like the interruption by a person."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_DEAF_SECONDS = 4.0
_ENDING = (signal.SIGINT, signal.SIGTERM)

deserted = threading.Event()
"""Set while a cluster that does not answer was left without a goodbye; Ray's at the end of the process waits for it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` in the main thread; elsewhere, where Python allows no handlers, do nothing.

    Some of Ray's calls wait for a cluster that is gone, deaf to signals: then the process ends where it stands.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = False
    heard = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        heard.set()
        arrived = number == signal.SIGTERM
        raise Terminated if arrived else KeyboardInterrupt

    # who ignores SIGINT, as what a shell starts in the background does, goes on doing so
    own = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, end) for number in own}
    try:
        with _ended_if_deaf(own, heard):
            yield
    except KeyboardInterrupt as interruption:
        if arrived and not isinstance(interruption, Terminated):  # a signal during one of Ray's calls leaves it as such
            raise Terminated from interruption
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _ended_if_deaf(numbers: list[signal.Signals], heard: threading.Event) -> Iterator[None]:
    """End the process some seconds after one of these signals, unless the main thread has heard it by then."""
    listening, told = socket.socketpair()
    told.setblocking(False)
    previous = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        with listening:
            while number := listening.recv(1):  # nothing when the other end is closed
                if number[0] in numbers and not heard.wait(_DEAF_SECONDS):
                    sys.stderr.write("Ray does not answer; ended without saving\n")
                    sys.stderr.flush()
                    os._exit(128 + number[0])
                heard.clear()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        told.close()
