"""Many experiments side by side, each in one process: their results are those of the Ray runtime, bit for bit."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from rich.progress import Progress

from fedra_ray import compose, run_local


def run_here(overrides: list[str]) -> dict[str, Any]:
    """Run one experiment in this process, unless its directory holds it already; returns its summary."""
    return run_local(compose(*overrides)).summary


def run_all(runs: dict[str, list[str]], processes: int, title: str) -> dict[str, dict[str, Any]]:
    """Run experiments side by side, begun in their order; returns the summary of each, by its key."""
    context = multiprocessing.get_context("spawn")
    with Progress() as progress, ProcessPoolExecutor(processes, mp_context=context) as pool:
        bar = progress.add_task(title, total=len(runs))
        futures = {key: pool.submit(run_here, overrides) for key, overrides in runs.items()}
        for future in futures.values():
            future.add_done_callback(lambda _: progress.advance(bar))
        return {key: future.result() for key, future in futures.items()}
