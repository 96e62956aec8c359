"""The pool of client actors: hands out batches, takes results in any order, and replaces actors that die."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError

from fedra_ray.blueprint import Blueprint
from fedra_ray.errors import RunFailedError, SettingError
from fedra_ray.messages import ClientFailure, ClientTask, ClientUpdate, Score
from fedra_ray.runtime.placement import Pace, SlotSpec, longest_first, next_batch, work_of
from fedra_ray.runtime.slot import ClientSlot

Vector = NDArray[np.float32]

_FOLLOW_SECONDS = 2.0  # between looks at the cluster while nothing ends


@dataclass(eq=False)
class _Slot:
    """A place for an actor; the actor in it may be replaced."""

    number: int
    spec: SlotSpec
    actor: Any = None
    failed_starts: int = 0


@dataclass
class _Call:
    """A call under way: what it was asked, how much work that is, and when it counts as hanging."""

    slot: _Slot
    what: Any
    pace: Pace
    work: int
    start: float
    deadline: float


class SlotPool:
    """Client actors that carry out `experiment.Workers`.

    A slot gets work only once its actor has started, so that actors for which the cluster has no room yet hold up
    nobody; an autoscaler sees them as demand. Slots follow the cluster: before every batch of tasks, and while it waits
    for results, the pool starts the actors that the plan has got more of, and lets go of idle ones that it has not any
    more.

    Args:
        blueprint: The experiment.
        weights: Reference to the frozen weights in the object store.
        plan: The actors that the experiment calls for on the cluster as it is at the time.
    """

    def __init__(self, blueprint: Blueprint, weights: ray.ObjectRef, plan: Callable[[], list[SlotSpec]]) -> None:
        self._config = blueprint.config
        self._domains = blueprint.domains
        self._shared = ray.put(blueprint)
        self._weights = weights
        self._plan = plan
        self._numbers = itertools.count()
        self._slots: list[_Slot] = []
        self._idle: list[_Slot] = []
        self._starting: dict[ray.ObjectRef, _Slot] = {}
        self._training = Pace(blueprint.config.runtime.task_timeout)
        self._evaluation = Pace(blueprint.config.runtime.task_timeout)
        self._follow_cluster()

    @property
    def size(self) -> int:
        """Client actors, started or starting."""
        return len(self._slots)

    def train(self, tasks: list[ClientTask], values: Vector) -> Iterator[ClientUpdate | ClientFailure]:
        """Train every task, longest first.

        A client whose actor died, hung or raised is trained again, with the same result: alone, because one that kills
        its actor must not take others with it again. A client that fails on every attempt is answered by its failure.
        """
        self._follow_cluster()
        reference = ray.put(values)
        queue, again = longest_first(tasks), list[ClientTask]()
        attempts = {task.client: 1 for task in tasks}
        busy: dict[ray.ObjectRef, _Call] = {}
        while queue or again or busy:
            for slot in list(self._idle):
                batch = next_batch(again, slot.spec.tier, len(self._slots), 1) or next_batch(
                    queue, slot.spec.tier, len(self._slots), self._config.runtime.clients_per_actor
                )
                if batch:
                    taken = {task.client for task in batch}
                    queue, again = (
                        [task for task in waiting if task.client not in taken] for waiting in (queue, again)
                    )
                    numbered = [(task, attempts[task.client]) for task in batch]
                    work = sum(work_of(task) for task in batch)
                    self._call(busy, slot, slot.actor.train.remote(numbered, reference), batch, self._training, work)
            batch, results = self._next_result(busy) or ([], [])
            if isinstance(results, RayTaskError) and isinstance(results.cause, RunFailedError):
                raise results.cause
            if isinstance(results, RayError):
                results = [ClientFailure(task, str(results)) for task in batch]
            for result in results:
                client = result.task.client
                if isinstance(result, ClientUpdate) or attempts[client] == self._config.runtime.max_attempts:
                    yield result
                else:
                    attempts[client] += 1
                    again = longest_first([*again, result.task])

    def evaluate(self, values: Vector) -> list[Score]:
        """Score the global adapter on every domain; a domain whose actor died or hung is scored again."""
        reference = ray.put(values)
        queue = list(self._domains)
        scores: dict[str, Score] = {}
        failures = 0
        busy: dict[ray.ObjectRef, _Call] = {}
        while queue or busy:
            while queue and self._idle:
                slot, domain = self._idle[-1], queue.pop()
                self._call(busy, slot, slot.actor.evaluate.remote(domain, reference), domain, self._evaluation, 1)
            domain, result = self._next_result(busy) or ("", None)
            if isinstance(result, RayTaskError):
                raise result.cause
            if isinstance(result, RayError):
                failures += 1
                if failures == self._config.runtime.max_attempts * len(self._domains):
                    raise RunFailedError(f"the evaluation failed {failures} times, the last time with: {result}")
                queue.append(domain)
            elif result is not None:
                scores[domain] = result
        return [scores[domain] for domain in self._domains]

    def _call(
        self, busy: dict[ray.ObjectRef, _Call], slot: _Slot, reference: ray.ObjectRef, what: Any, pace: Pace, work: int
    ) -> None:
        self._idle.remove(slot)
        now = time.monotonic()
        busy[reference] = _Call(slot, what, pace, work, now, now + pace.limit(work))

    def _next_result(self, busy: dict[ray.ObjectRef, _Call]) -> tuple[Any, Any] | None:
        """What was asked and the result of the next call that ends, an error as a value.

        None if an actor got ready instead, or one that hung was killed; its call ends next.
        """
        if not busy and not self._starting:
            raise RunFailedError("there is work that no client actor may take, and none is starting")
        patience = min((call.deadline for call in busy.values()), default=math.inf) - time.monotonic()
        ended, _ = ray.wait([*busy, *self._starting], num_returns=1, timeout=min(max(0.0, patience), _FOLLOW_SECONDS))
        if not ended:
            self._kill_hanging(busy)
            self._follow_cluster()
            return None
        call = busy.pop(ended[0], None)
        slot = call.slot if call else self._starting.pop(ended[0])
        try:
            result = ray.get(ended[0])
            self._idle.append(slot)
            if call:
                call.pace.note(call.work, time.monotonic() - call.start)
        except RayTaskError as error:
            self._idle.append(slot)
            result = error
        except RayError as error:
            self._replace(slot, error, started=call is not None)
            result = error
        return None if call is None else (call.what, result)

    def _kill_hanging(self, busy: dict[ray.ObjectRef, _Call]) -> None:
        for call in busy.values():
            if call.deadline <= time.monotonic():
                ray.kill(call.slot.actor)
                call.deadline = math.inf

    def _follow_cluster(self) -> None:
        """Start and stop actors, until they are those of the plan; busy ones are left to end their work."""
        try:
            wanted = Counter(self._plan())
        except SettingError:  # the last GPUs have gone, perhaps to come back
            return
        have = Counter(slot.spec for slot in self._slots)
        surplus = have - wanted
        for slot in [*self._starting.values(), *self._idle]:
            if surplus[slot.spec] > 0:
                surplus[slot.spec] -= 1
                self._retire(slot)
        for spec in (wanted - have).elements():
            slot = _Slot(next(self._numbers), spec)
            self._slots.append(slot)
            self._start(slot)

    def _retire(self, slot: _Slot) -> None:
        ray.kill(slot.actor)
        self._slots.remove(slot)
        self._idle = [each for each in self._idle if each is not slot]
        self._starting = {reference: each for reference, each in self._starting.items() if each is not slot}

    def _replace(self, slot: _Slot, error: RayError, started: bool) -> None:
        """Put a new actor in the place of one that is gone; one that cannot even start is given up."""
        node_lost = "node has died" in str(error)  # Ray has no other sign of it; spot nodes may go while actors start
        slot.failed_starts = 0 if started or node_lost else slot.failed_starts + 1
        if slot.failed_starts == self._config.runtime.max_attempts:
            raise error
        ray.kill(slot.actor)
        self._start(slot)

    def _start(self, slot: _Slot) -> None:
        remote: Any = ray.remote(ClientSlot)
        spec = slot.spec
        labels = {"label_selector": {"tier": spec.label}} if spec.label else {}
        actor = remote.options(num_cpus=spec.num_cpus, num_gpus=spec.num_gpus, max_restarts=0, **labels)
        slot.actor = actor.remote(slot.number, self._shared, self._weights)
        self._starting[slot.actor.__ray_ready__.remote()] = slot
