"""The pool of client actors: hands out batches, takes results in any order, and replaces actors that die."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.federation.messages import ClientTask, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.state import Arrays, ServerState, Vector
from fedra_ray.runtime.jobs import Call, EvaluationJob, Failure, Job, ServerJob, TrainingJob
from fedra_ray.runtime.placement import Pace, SlotSpec
from fedra_ray.runtime.slot import ClientSlot
from fedra_ray.runtime.waiting import Stall, in_words

_FOLLOW_SECONDS = 2.0  # between looks at the cluster while nothing ends


@dataclass(eq=False)
class _Slot:
    """A place for an actor; the actor in it may be replaced."""

    number: int
    spec: SlotSpec
    actor: Any = None
    failed_starts: int = 0


@dataclass
class _Running:
    """A call under way, and when it counts as hanging."""

    slot: _Slot
    call: Call
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
        actor: Their class.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        weights: ray.ObjectRef,
        plan: Callable[[], list[SlotSpec]],
        actor: type[ClientSlot] = ClientSlot,
    ) -> None:
        self._config = blueprint.config
        self._given = [ray.put(blueprint), weights]
        self._plan = plan
        self._actor = actor
        self._numbers = itertools.count()
        self._slots: list[_Slot] = []
        self._idle: list[_Slot] = []
        self._starting: dict[ray.ObjectRef, _Slot] = {}
        self._busy: dict[ray.ObjectRef, _Running] = {}
        self._jobs: list[Job] = []
        self._notices: dict[str, None] = {}
        self._stalled_since: float | None = None
        self._shards = blueprint.shards()
        self._training = Pace(blueprint.config.runtime.task_timeout)
        self._evaluation = Pace(blueprint.config.runtime.task_timeout)
        self._serving = Pace(blueprint.config.runtime.task_timeout)
        self._follow_cluster()

    @property
    def size(self) -> int:
        """Client actors, started or starting."""
        return len(self._slots)

    def notices(self) -> list[str]:
        """What actors that have started said of themselves, each once."""
        return list(self._notices)

    def stall(self) -> Stall | None:
        """What all work waits for; None while a call is under way, or there is no work. From any thread."""
        since = self._stalled_since
        if since is None:
            return None
        return Stall(time.monotonic() - since, in_words([slot.spec for slot in [*self._starting.values()]]))

    def train(self, tasks: list[ClientTask], sent: ServerState, kept: Mapping[int, Arrays]) -> Iterator[PartialRound]:
        """Begin to train every task; a client that fails on every attempt is among the failures of a part."""
        runtime = self._config.runtime
        job = TrainingJob(tasks, ray.put(sent), kept, self._training, runtime.clients_per_actor, runtime.max_attempts)
        self._follow_cluster()
        self._begin(job)
        return self._parts(job)

    def compute(self, tasks: list[ServerTask], sent: ServerState) -> list[Arrays]:
        """The results of server tasks, in their order."""
        job = ServerJob(tasks, ray.put(sent), self._serving, self._config.runtime.max_attempts)
        self._begin(job)
        self._await(job)
        return job.results

    def evaluate(self, values: Vector) -> Callable[[], list[Score]]:
        """Begin to score the global adapter on every domain; the result waits for the scores."""
        job = EvaluationJob(self._shards, ray.put(values), self._evaluation, self._config.runtime.max_attempts)
        self._begin(job)
        return partial(self._scores, job)

    def _parts(self, job: TrainingJob) -> Iterator[PartialRound]:
        while job.parts or not job.done:
            if job.parts:
                yield job.parts.popleft()
            else:
                self._turn()

    def _scores(self, job: EvaluationJob) -> list[Score]:
        self._await(job)
        return job.scores()

    def _await(self, job: Job) -> None:
        while not job.done:
            self._turn()

    def _begin(self, job: Job) -> None:
        self._jobs = [each for each in self._jobs if not each.done] + [job]
        self._dispatch()

    def _dispatch(self) -> None:
        """Give every idle actor something to do, of the job that began first."""
        for slot in list(self._idle):
            offers = (job.offer(slot.spec.tier, len(self._slots)) for job in self._jobs)
            call = next((offer for offer in offers if offer), None)
            if call is not None:
                self._idle.remove(slot)
                now = time.monotonic()
                reference = getattr(slot.actor, call.method).remote(*call.arguments)
                self._busy[reference] = _Running(slot, call, now, now + call.job.pace.limit(call.amount))

    def _turn(self) -> None:
        """Wait until a call ends or an actor is ready, take that in, and hand out more work."""
        if not self._busy and not self._starting:
            raise RunFailedError("there is work that no client actor may take, and none is starting")
        if self._busy:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = time.monotonic()
        patience = min((running.deadline for running in self._busy.values()), default=math.inf) - time.monotonic()
        timeout = min(max(0.0, patience), _FOLLOW_SECONDS)
        ended, _ = ray.wait([*self._busy, *self._starting], num_returns=1, timeout=timeout)
        if ended:
            self._end(ended[0])
        else:
            self._kill_hanging()
            self._follow_cluster()
        self._dispatch()

    def _end(self, reference: ray.ObjectRef) -> None:
        """Take in the end of a call, or of an actor's start; Ray's errors go no further than here."""
        running = self._busy.pop(reference, None)
        slot = running.slot if running else self._starting.pop(reference)
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            self._idle.append(slot)
            failure = Failure(str(error), error.cause)
        except RayError as error:
            self._replace(slot, error, started=running is not None)
            failure = Failure(str(error))
        else:
            self._idle.append(slot)
            if running:
                running.call.job.pace.note(running.call.amount, time.monotonic() - running.start)
                running.call.job.accept(running.call, result)
            elif result is not None:
                self._notices[result] = None
            return
        if running:
            running.call.job.fail(running.call, failure)

    def _kill_hanging(self) -> None:
        for running in self._busy.values():
            if running.deadline <= time.monotonic():
                ray.kill(running.slot.actor)
                running.deadline = math.inf

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
        remote: Any = ray.remote(self._actor)
        spec = slot.spec
        labels = {"label_selector": {"tier": spec.label}} if spec.label else {}
        actor = remote.options(num_cpus=spec.num_cpus, num_gpus=spec.num_gpus, max_restarts=0, **labels)
        slot.actor = actor.remote(slot.number, self._given)
        self._starting[slot.actor.notice.remote()] = slot
