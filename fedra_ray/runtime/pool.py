"""The pool of client actors: hands out batches, takes results in any order, and replaces actors that die."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError

from fedra_ray.blueprint import Blueprint
from fedra_ray.errors import ClientLostError, RunFailedError
from fedra_ray.messages import ClientFailure, ClientTask, ClientUpdate, Score
from fedra_ray.runtime.placement import SlotSpec, longest_first, next_batch
from fedra_ray.runtime.slot import ClientSlot

Vector = NDArray[np.float32]
W = TypeVar("W")


@dataclass(eq=False)
class _Slot:
    """A place for an actor; the actor in it may be replaced."""

    number: int
    spec: SlotSpec
    actor: Any = None
    failed_starts: int = 0


class SlotPool:
    """Client actors that carry out `experiment.Workers`.

    A slot gets work only once its actor has started, so that actors for which the cluster has no room yet hold up
    nobody.

    Args:
        blueprint: The experiment.
        weights: Reference to the frozen weights in the object store.
        specs: The actors to start.
    """

    def __init__(self, blueprint: Blueprint, weights: ray.ObjectRef, specs: list[SlotSpec]) -> None:
        self._config = blueprint.config
        self._domains = blueprint.domains
        self._shared = ray.put(blueprint)
        self._weights = weights
        self._slots = [_Slot(number, spec) for number, spec in enumerate(specs)]
        self._idle: list[_Slot] = []
        self._starting: dict[ray.ObjectRef, _Slot] = {}
        for slot in self._slots:
            self._start(slot)

    def train(self, tasks: list[ClientTask], values: Vector) -> Iterator[ClientUpdate]:
        """Train every task, longest first; a client whose actor died or raised is trained again, with the same result.

        Raises:
            ClientLostError: if a client fails on every attempt.
        """
        reference = ray.put(values)
        queue = longest_first(tasks)
        attempts = {task.client: 1 for task in tasks}
        busy: dict[ray.ObjectRef, tuple[_Slot, list[ClientTask]]] = {}
        while queue or busy:
            for slot in list(self._idle):
                batch = next_batch(queue, slot.spec.tier, len(self._slots), self._config.runtime.clients_per_actor)
                if batch:
                    self._idle.remove(slot)
                    taken = {task.client for task in batch}
                    queue = [task for task in queue if task.client not in taken]
                    numbered = [(task, attempts[task.client]) for task in batch]
                    busy[slot.actor.train.remote(numbered, reference)] = (slot, batch)
            batch, results = self._next_result(busy) or ([], [])
            if isinstance(results, RayTaskError) and isinstance(results.cause, RunFailedError):
                raise results.cause
            if isinstance(results, RayError):
                results = [ClientFailure(task, str(results)) for task in batch]
            yield from (result for result in results if isinstance(result, ClientUpdate))
            failures = [result for result in results if isinstance(result, ClientFailure)]
            self._count_attempts(failures, attempts)
            queue = longest_first(queue + [failure.task for failure in failures])

    def evaluate(self, values: Vector) -> list[Score]:
        """Score the global adapter on every domain; a domain whose actor died is scored again."""
        reference = ray.put(values)
        queue = list(self._domains)
        scores: dict[str, Score] = {}
        failures = 0
        busy: dict[ray.ObjectRef, tuple[_Slot, str]] = {}
        while queue or busy:
            while queue and self._idle:
                slot, domain = self._idle.pop(), queue.pop()
                busy[slot.actor.evaluate.remote(domain, reference)] = (slot, domain)
            domain, result = self._next_result(busy) or ("", None)
            if isinstance(result, RayError):
                failures += 1
                if isinstance(result, RayTaskError):
                    raise result.cause
                if failures == self._config.runtime.max_attempts:
                    raise result
                queue.append(domain)
            elif result is not None:
                scores[domain] = result
        return [scores[domain] for domain in self._domains]

    def _next_result(self, busy: dict[ray.ObjectRef, tuple[_Slot, W]]) -> tuple[W, Any] | None:
        """The work and result of the next call that ends, an error as a value; None if an actor got ready instead."""
        reference = ray.wait([*busy, *self._starting], num_returns=1)[0][0]
        slot, work = busy.pop(reference) if reference in busy else (self._starting.pop(reference), None)
        try:
            result = ray.get(reference)
            self._idle.append(slot)
        except RayTaskError as error:
            self._idle.append(slot)
            result = error
        except RayError as error:
            self._replace(slot, error, started=work is not None)
            result = error
        return None if work is None else (work, result)

    def _count_attempts(self, failures: list[ClientFailure], attempts: dict[int, int]) -> None:
        most = self._config.runtime.max_attempts
        lost = [failure for failure in failures if attempts[failure.task.client] == most]
        if lost:
            clients = sorted(failure.task.client for failure in lost)
            raise ClientLostError(lost[0].task.round, clients, most, lost[0].error.strip())
        for failure in failures:
            attempts[failure.task.client] += 1

    def _replace(self, slot: _Slot, error: RayError, started: bool) -> None:
        """Put a new actor in the place of one that is gone; one that cannot even start is given up."""
        slot.failed_starts = 0 if started else slot.failed_starts + 1
        if slot.failed_starts == self._config.runtime.max_attempts:
            raise error
        ray.kill(slot.actor)
        self._start(slot)

    def _start(self, slot: _Slot) -> None:
        remote: Any = ray.remote(ClientSlot)
        actor = remote.options(num_cpus=slot.spec.num_cpus, num_gpus=slot.spec.num_gpus, max_restarts=0)
        slot.actor = actor.remote(slot.number, self._shared, self._weights)
        self._starting[slot.actor.__ray_ready__.remote()] = slot
