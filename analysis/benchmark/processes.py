"""CPU seconds and memory of a process and all that it has started."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil


def tree() -> list[psutil.Process]:
    """This process and its living descendants."""
    own = psutil.Process(os.getpid())
    return [own, *own.children(recursive=True)]


def cpu_seconds() -> float:
    """CPU seconds that the living processes of the tree have taken so far, with those they have waited for."""
    total = 0.0
    for process in tree():
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb() -> float:
    """Memory of the tree in 10^6 bytes; pages that processes share count once (proportional set size)."""
    total = 0
    for process in tree():
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 1e6


class Peak:
    """The largest memory of the tree so far, in 10^6 bytes."""

    megabytes = 0.0


@contextmanager
def peak_memory(every: float = 0.5) -> Iterator[Peak]:
    """Watch the tree's memory from another thread, at intervals of `every` seconds."""
    peak = Peak()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every):
            peak.megabytes = max(peak.megabytes, memory_mb())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak.megabytes = max(peak.megabytes, memory_mb())
