"""What the pool of client actors has to do at a time: jobs, which hand out work and take its results in any order."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.messages import ClientFailure, ClientTask, Score
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.shards import Shard, total_scores
from fedra_ray.federation.state import Arrays
from fedra_ray.runtime.placement import Pace, longest_first, next_batch


@dataclass(eq=False)
class Work:
    """A call to be made of an actor.

    Attributes:
        job: Whose it is.
        call: Name of the actor's method.
        arguments: Of the call.
        what: Tasks or a shard: what the job needs to know when it has ended.
        amount: How much work that is, in the unit of the job's pace.
    """

    job: "Job"
    call: str
    arguments: tuple[Any, ...]
    what: Any
    amount: int


class Job(Protocol):
    """A part of the experiment that actors carry out."""

    pace: Pace

    @property
    def done(self) -> bool:
        """Whether every result has arrived."""

    def offer(self, tier: int, slots: int) -> Work | None:
        """What an idle actor of this tier, one of so many, does next."""

    def accept(self, work: Work, result: Any) -> None:
        """Take in how a call has ended: its result, or an error of Ray's as a value.

        Raises:
            RunFailedError: if the run cannot be completed.
        """


class TrainingJob:
    """Local training of a cohort, longest first.

    A client whose actor died, hung or raised is trained again, with the same result: alone, because one that kills
    its actor must not take others with it again. A client that fails on every attempt is answered by its failure.

    Attributes:
        parts: What has arrived and nobody has taken yet.
    """

    def __init__(
        self,
        tasks: list[ClientTask],
        sent: ray.ObjectRef,
        kept: Mapping[int, Arrays],
        pace: Pace,
        most: int | None,
        max_attempts: int,
    ) -> None:
        self.pace = pace
        self.parts: deque[PartialRound] = deque()
        self._sent, self._kept = sent, kept
        self._most, self._max_attempts = most, max_attempts
        self._queue, self._again = longest_first(tasks), list[ClientTask]()
        self._attempts = {task.client: 1 for task in tasks}
        self._total = sum(task.work for task in tasks)
        self._open = 0

    @property
    def done(self) -> bool:
        return not (self._queue or self._again or self._open)

    def offer(self, tier: int, slots: int) -> Work | None:
        batch = next_batch(self._again, tier, slots, most=1)
        if not batch:
            least = min(self.pace.least, self._total / slots)
            batch = next_batch(self._queue, tier, slots, self._most, least)
        if not batch:
            return None
        taken = {task.client for task in batch}
        self._queue = [task for task in self._queue if task.client not in taken]
        self._again = [task for task in self._again if task.client not in taken]
        self._open += 1
        numbered = [(task, self._attempts[task.client]) for task in batch]
        kept = {task.client: self._kept[task.client] for task in batch if task.client in self._kept}
        return Work(self, "train", (numbered, self._sent, kept), batch, sum(task.work for task in batch))

    def accept(self, work: Work, result: Any) -> None:
        self._open -= 1
        if isinstance(result, RayTaskError) and isinstance(result.cause, RunFailedError):
            raise result.cause
        if isinstance(result, RayError):
            result = PartialRound(failures=[ClientFailure(task, str(result)) for task in work.what])
        final = []
        for failure in result.failures:
            client = failure.task.client
            if self._attempts[client] == self._max_attempts:
                final.append(failure)
            else:
                self._attempts[client] += 1
                self._again = longest_first([*self._again, failure.task])
        result.failures = final
        self.parts.append(result)


class EvaluationJob:
    """Scores of a global adapter; a shard whose actor died or hung is scored again."""

    def __init__(self, shards: list[Shard], values: ray.ObjectRef, pace: Pace, max_attempts: int) -> None:
        self.pace = pace
        self._shards, self._values = shards, values
        self._queue = [*reversed(shards)]
        self._scores: dict[Shard, Score] = {}
        self._failures, self._most_failures = 0, max_attempts * len(shards)

    @property
    def done(self) -> bool:
        return len(self._scores) == len(self._shards)

    def offer(self, tier: int, slots: int) -> Work | None:
        if not self._queue:
            return None
        shard = self._queue.pop()
        return Work(self, "evaluate", (shard, self._values), shard, shard.stop - shard.start)

    def accept(self, work: Work, result: Any) -> None:
        if isinstance(result, RayTaskError):
            raise result.cause
        if isinstance(result, RayError):
            self._failures += 1
            if self._failures == self._most_failures:
                raise RunFailedError(f"the evaluation failed {self._failures} times, the last time with: {result}")
            self._queue.append(work.what)
            return
        self._scores[work.what] = result

    def scores(self) -> list[Score]:
        """A score a domain, once it is done."""
        return total_scores([self._scores[shard] for shard in self._shards])
