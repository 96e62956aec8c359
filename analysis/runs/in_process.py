"""Many experiments side by side, each in one process: their results are those of the Ray runtime, bit for bit."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from rich.progress import Progress

from fedra_ray.cli.compose import compose
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.claim import claim, prepare
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.watch import results


def run_here(overrides: list[str]) -> dict[str, Any]:
    """Run one experiment in this process, unless its directory holds it already; returns its summary."""
    return carry_out(compose("config", ExperimentConfig, overrides))


def carry_out(config: ExperimentConfig) -> dict[str, Any]:
    """The same, of a configuration."""
    from fedra_ray import experiment
    from fedra_ray.client.host import Site
    from fedra_ray.preflight import draw_up

    folder = Folder(config.run_dir)
    blueprint, weights = draw_up(config)
    finished = claim(folder, blueprint.config)
    if finished is not None:
        return finished
    prepare(folder, blueprint.config)
    for event in experiment.run(blueprint, Site(blueprint, weights), Journal(folder, config.checkpoint.keep)):
        if isinstance(event, experiment.Outcome):
            return results.write(folder, blueprint, event)
    raise RuntimeError(f"{folder}: the experiment ended without an outcome")


def run_all(runs: dict[str, list[str]], processes: int, title: str) -> dict[str, dict[str, Any]]:
    """Run experiments side by side, begun in their order; returns the summary of each, by its key."""
    context = multiprocessing.get_context("spawn")
    with Progress() as progress, ProcessPoolExecutor(processes, mp_context=context) as pool:
        bar = progress.add_task(title, total=len(runs))
        futures = {key: pool.submit(run_here, overrides) for key, overrides in runs.items()}
        for future in futures.values():
            future.add_done_callback(lambda _: progress.advance(bar))
        return {key: future.result() for key, future in futures.items()}
