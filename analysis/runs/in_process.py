"""Many experiments side by side, each in one process: their results are those of the Ray runtime, bit for bit."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any

from rich.progress import Progress

from fedra_ray import compose, run_local
from fedra_ray.runtime.interruption import terminable


def run_here(overrides: list[str]) -> dict[str, Any]:
    """Run one experiment in this process, unless its directory holds it already; returns its summary."""
    return run_local(compose(*overrides)).summary


def run_all(runs: dict[str, list[str]], processes: int, title: str) -> dict[str, dict[str, Any]]:
    """Run experiments side by side, begun in their order; returns the summary of each, by its key.

    Their processes end with this one, however it ends.

    Raises:
        KeyboardInterrupt: after an interruption; `Terminated` if it was SIGTERM.
    """
    context = multiprocessing.get_context("spawn")
    with (
        terminable(),
        Progress() as progress,
        ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool,
    ):
        try:
            bar = progress.add_task(title, total=len(runs))
            futures = {key: pool.submit(run_here, overrides) for key, overrides in runs.items()}
            for future in futures.values():
                future.add_done_callback(lambda _: progress.advance(bar))
            return {key: future.result() for key, future in futures.items()}
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _end_with_parent() -> None:
    """Let this worker end when its parent has gone, which may have had no time to say so, and leave SIGINT to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
