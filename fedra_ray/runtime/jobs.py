"""The work of the client actors, as jobs: each hands out calls, and takes in their results in any order.

A job starts nothing itself and knows nothing of Ray: `SlotPool` makes the calls, and says how each ended.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.messages import ClientFailure, ClientTask, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.shards import Shard, total_scores
from fedra_ray.federation.state import Arrays
from fedra_ray.runtime.placement import Pace, longest_first, next_batch

S = TypeVar("S")
R = TypeVar("R")


@dataclass(eq=False)
class Call:
    """A call to be made of an actor.

    Attributes:
        job: The job that it is part of.
        method: Name of the actor's method.
        arguments: Its positional arguments.
        subject: The tasks or the shard that the call is about, for the job to know when the call has ended.
        amount: How much work the call is, in the unit of the job's pace.
    """

    job: "Job"
    method: str
    arguments: tuple[Any, ...]
    subject: Any
    amount: int


@dataclass(frozen=True)
class Failure:
    """How a call ended that has no result.

    Attributes:
        text: What happened, for people.
        raised: What the actor raised; None if the actor died or was killed.
    """

    text: str
    raised: Exception | None = None


class Job(Protocol):
    """A part of the experiment that actors carry out."""

    pace: Pace

    @property
    def done(self) -> bool:
        """Whether every result has arrived."""

    def offer(self, tier: int, slots: int) -> Call | None:
        """The next call for an idle actor; None if there is none that it may take.

        Args:
            tier: The most layers that the actor takes.
            slots: How many actors there are.
        """

    def accept(self, call: Call, result: Any) -> None:
        """Take in the result of a call."""

    def fail(self, call: Call, failure: Failure) -> None:
        """Take in that a call ended without a result.

        Raises:
            RunFailedError: if the run cannot be completed.
        """


class TrainingJob:
    """Local training of a cohort, longest tasks first.

    A client whose actor died or hung, or whose training raised, is trained again, with the same result: alone, because
    a client that kills its actor must not take others with it again. The answer of a client that fails on every attempt
    is its failure.

    Args:
        tasks: One task for every client of the cohort that answers.
        sent: Reference to what the clients start from; handed to every call as it is.
        kept: Arrays that clients kept from earlier rounds, by client and name.
        pace: Of training calls; its unit is layers times images.
        most: The most clients of a call; None for no bound.
        max_attempts: How often a client is tried, at least 1.

    Attributes:
        parts: Results that have arrived and that nobody has taken yet.
    """

    def __init__(
        self,
        tasks: list[ClientTask],
        sent: Any,
        kept: Mapping[int, Arrays],
        pace: Pace,
        most: int | None,
        max_attempts: int,
    ) -> None:
        self.pace = pace
        self.parts: deque[PartialRound] = deque()
        self._sent = sent
        self._kept = kept
        self._most = most
        self._max_attempts = max_attempts
        self._queue = longest_first(tasks)
        self._again: list[ClientTask] = []
        self._attempts = {task.client: 1 for task in tasks}
        self._total = sum(task.work for task in tasks)
        self._open = 0

    @property
    def done(self) -> bool:
        return not (self._queue or self._again or self._open)

    def offer(self, tier: int, slots: int) -> Call | None:
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
        return Call(self, "train", (numbered, self._sent, kept), batch, sum(task.work for task in batch))

    def fail(self, call: Call, failure: Failure) -> None:
        if isinstance(failure.raised, RunFailedError):
            raise failure.raised
        self.accept(call, PartialRound(failures=[ClientFailure(task, failure.text) for task in call.subject]))

    def accept(self, call: Call, result: PartialRound) -> None:
        self._open -= 1
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


class RepeatableJob(ABC, Generic[S, R]):
    """Calls with one result each; one whose actor died or hung is made again.

    Args:
        subjects: What the calls are about, all different.
        sent: Reference to what every call needs besides; handed on as it is.
        pace: Of these calls.
        max_attempts: How often a call is made on average before the job is given up.

    Attributes:
        method: Name of the actor's method.
        name: What the job is, in words.
    """

    method: str
    name: str

    def __init__(self, subjects: Sequence[S], sent: Any, pace: Pace, max_attempts: int) -> None:
        self.pace = pace
        self._subjects = subjects
        self._sent = sent
        self._queue = [*reversed(subjects)]
        self._results: dict[S, R] = {}
        self._failures = 0
        self._most_failures = max_attempts * len(subjects)

    @property
    def done(self) -> bool:
        return len(self._results) == len(self._subjects)

    @property
    def results(self) -> list[R]:
        """One for every subject, in their order, once the job is done."""
        return [self._results[subject] for subject in self._subjects]

    @abstractmethod
    def amount(self, subject: S) -> int:
        """How much work the call about a subject is, in the unit of the pace."""

    def offer(self, tier: int, slots: int) -> Call | None:
        if not self._queue:
            return None
        subject = self._queue.pop()
        return Call(self, self.method, (subject, self._sent), subject, self.amount(subject))

    def accept(self, call: Call, result: R) -> None:
        self._results[call.subject] = result

    def fail(self, call: Call, failure: Failure) -> None:
        if failure.raised is not None:
            raise failure.raised
        self._failures += 1
        if self._failures == self._most_failures:
            raise RunFailedError(f"{self.name} failed {self._failures} times, the last time with: {failure.text}")
        self._queue.append(call.subject)


class EvaluationJob(RepeatableJob[Shard, Score]):
    """Scores of a global adapter, shard by shard; the pace's unit is images."""

    method, name = "evaluate", "the evaluation"

    def amount(self, subject: Shard) -> int:
        return subject.stop - subject.start

    def scores(self) -> list[Score]:
        """One score per domain, once the job is done."""
        return total_scores(self.results)


class ServerJob(RepeatableJob[ServerTask, Arrays]):
    """What a method's server has computed before a round; the pace's unit is passes over the images of a domain."""

    method, name = "compute", "the server's task"

    def amount(self, subject: ServerTask) -> int:
        return max(1, subject.passes)
