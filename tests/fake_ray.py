"""What `SlotPool` uses of Ray, without a process: actors whose calls end as a test says, in an order that it says."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import ActorDiedError, RayError

#: Ends a call never.
HANG = object()


@dataclass(eq=False)
class FakeActor:
    """An actor and its handle.

    Attributes:
        number: Number of its slot: the first argument that it was made with.
        options: What it reserves.
        alive: Whether nobody has killed it.
        calls: Names of its methods that were called.
    """

    ray: "FakeRay"
    number: int
    options: dict[str, Any]
    alive: bool = True
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> "FakeMethod":
        return FakeMethod(self, name)


@dataclass(frozen=True)
class FakeMethod:
    """A method of a handle."""

    actor: FakeActor
    name: str

    def remote(self, *arguments: Any) -> "FakeReference":
        self.actor.calls.append(self.name)
        return FakeReference(self.actor, self.name, arguments)


@dataclass(eq=False)
class FakeReference:
    """The result of a call, or a value that was put; made when somebody looks whether it is there."""

    actor: FakeActor | None
    name: str
    arguments: tuple[Any, ...]
    result: Any = HANG
    number: int = field(default_factory=itertools.count().__next__)

    def settle(self) -> bool:
        """Whether the call has ended."""
        if self.actor is not None and self.result is HANG:
            ray = self.actor.ray
            self.result = ray.starts(self.actor) if self.name == "notice" else ray.answer(self)
            if isinstance(self.result, ActorDiedError):
                self.actor.alive = False
            if not self.actor.alive:
                self.result = self.result if isinstance(self.result, RayError) else ActorDiedError()
        return self.result is not HANG


class FakeRay:
    """Stands in for the modules `ray` and `time` in fedra_ray.runtime.pool.

    Args:
        answer: Called with the reference of a call when somebody waits for it: its result, or a `RayError` as a value,
            or `HANG`.
        choose: Which of the ended calls, oldest first, `wait` returns.

    Attributes:
        actors: Every actor so far.
        starts: How an actor starts: the notice that it gives, if any, an error, or HANG as long as there is no room.
        now: Seconds on the clock; a wait that is in vain takes all of its timeout.
    """

    ObjectRef = FakeReference

    def __init__(
        self,
        answer: Callable[[FakeReference], Any],
        choose: Callable[[Sequence[FakeReference]], FakeReference] = lambda ended: ended[0],
    ) -> None:
        self.answer = answer
        self.starts: Callable[[FakeActor], Any] = lambda actor: None
        self.actors: list[FakeActor] = []
        self.now = 0.0
        self._choose = choose

    @property
    def alive(self) -> list[FakeActor]:
        return [actor for actor in self.actors if actor.alive]

    def put(self, value: Any) -> FakeReference:
        return FakeReference(None, "put", (), value)

    def get(self, reference: FakeReference) -> Any:
        assert reference.settle(), "the pool would wait for this call for ever"
        if isinstance(reference.result, Exception):
            raise reference.result
        return reference.result

    def wait(
        self, references: list[FakeReference], num_returns: int, timeout: float
    ) -> tuple[list[FakeReference], list[FakeReference]]:
        ended = sorted((waited for waited in references if waited.settle()), key=lambda reference: reference.number)
        if not ended:
            self.now += timeout
            return [], references
        chosen = self._choose(ended)
        return [chosen], [reference for reference in references if reference is not chosen]

    def kill(self, actor: FakeActor) -> None:
        actor.alive = False

    def remote(self, actor_class: type) -> Any:
        ray = self

        class Options:
            def __init__(self, **options: Any) -> None:
                self._options = options

            def remote(self, number: int, *arguments: Any) -> FakeActor:
                actor = FakeActor(ray, number, self._options)
                ray.actors.append(actor)
                return actor

        class Remote:
            options = Options

        return Remote

    def monotonic(self) -> float:
        return self.now
