"""The server actor: draws the allocation, hands out tasks, averages what comes back, and reports every round."""

from collections.abc import Iterator
from pathlib import Path

import ray

from fedra_ray.blueprint import Blueprint
from fedra_ray.experiment import Outcome, RoundReport, run
from fedra_ray.runtime.placement import SlotSpec
from fedra_ray.runtime.pool import SlotPool


class Server:
    """Runs `experiment.run` over a pool of client actors.

    Args:
        blueprint: The experiment.
        weights: A list with the reference to the frozen weights; in a list, so that the server does not fetch them.
        specs: The client actors to start.
        run_dir: Where records and checkpoints go.
    """

    def __init__(self, blueprint: Blueprint, weights: list[ray.ObjectRef], specs: list[SlotSpec], run_dir: str) -> None:
        self._blueprint = blueprint
        self._pool = SlotPool(blueprint, weights[0], specs)
        self._run_dir = Path(run_dir)

    def run(self) -> Iterator[RoundReport | Outcome]:
        """Rounds as they end, then the outcome; a Ray streaming generator."""
        yield from run(self._blueprint, self._pool, self._run_dir)
