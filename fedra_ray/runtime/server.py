"""The server actor: draws the allocation, hands out tasks, averages what comes back, and reports every round."""

from collections.abc import Iterator
from dataclasses import replace

import ray

from fedra_ray.blueprint import Blueprint
from fedra_ray.experiment import run
from fedra_ray.federation.reports import Notice, Outcome, RoundReport
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.runtime.connection import nodes
from fedra_ray.runtime.metrics import Metrics
from fedra_ray.runtime.placement import SlotSpec, plan_slots
from fedra_ray.runtime.pool import SlotPool
from fedra_ray.runtime.slot import ClientSlot
from fedra_ray.runtime.waiting import Stall


class Server:
    """Runs `experiment.run` over a pool of client actors.

    Args:
        blueprint: The experiment.
        weights: A list with the reference to the frozen weights; in a list, so that the server does not fetch them.
        layers: How many layers each client of a cohort holds; the client actors are planned for it.
        run_dir: Where records and checkpoints go.
        lease: Name of the lease there that the driver holds; without it nothing is written any more.
        slots: How many client actors it may have instead of those that the configuration asks for; None for those.

    Attributes:
        actor: Class of the client actors.
    """

    actor: type[ClientSlot] = ClientSlot

    def __init__(
        self,
        blueprint: Blueprint,
        weights: list[ray.ObjectRef],
        layers: list[int],
        run_dir: str,
        lease: str | None,
        slots: int | None = None,
    ) -> None:
        self._blueprint = blueprint
        self._layers = layers
        self._runtime = blueprint.config.runtime
        if slots is not None:
            self.share(slots)
        self._pool = SlotPool(blueprint, weights[0], self._plan, self.actor)
        self._metrics = Metrics(run_dir, blueprint.config.rounds)
        self._journal = Journal(Folder(run_dir), blueprint.config, lease)

    def run(self) -> Iterator[Notice | RoundReport | Outcome]:
        """Rounds as they end, then the outcome, and notices before either; a Ray streaming generator."""
        told = 0
        for event in run(self._blueprint, self._pool, self._journal):
            notices = self._pool.notices()
            for text in notices[told:]:
                yield Notice(text)
            told = len(notices)
            if isinstance(event, RoundReport):
                self._metrics.round(event, self._pool.size)
            yield event

    def share(self, slots: int) -> None:
        """Have so many client actors from now on, at any time from another thread."""
        self._runtime = replace(self._runtime, max_actors=slots)

    def stall(self) -> Stall | None:
        """What all work waits for, if no client actor works on any; at any time from another thread."""
        return self._pool.stall()

    def save(self) -> int:
        """Save the last finished round, at any time from another thread; returns its number."""
        return self._journal.save()

    def _plan(self) -> list[SlotSpec]:
        return plan_slots(self._layers, self._blueprint.num_layers, nodes(), self._runtime)
