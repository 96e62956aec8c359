"""A run on Ray, followed event by event from outside its server actor."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.reports import Notice, Outcome, RoundReport
from fedra_ray.run_dir.folder import Folder
from fedra_ray.runtime.connection import answers
from fedra_ray.runtime.placement import SERVER_CPUS
from fedra_ray.runtime.server import Server
from fedra_ray.runtime.waiting import Stall

_SILENCE_SECONDS = 2.0  # after which `next` returns without an event
_ANSWER_SECONDS = 2.0  # for a server that may have its hands full
_ABSENCE_SECONDS = 45.0  # for a cluster to answer again; Ray itself ends this process after a minute
_GRACE_SECONDS = 20.0  # for the last finished round to be saved; clusters give 30 before they kill


class LiveRun:
    """A server actor at work. One that is lost is started again, and goes on from the last checkpoint.

    Args:
        blueprint: The experiment.
        weights: Reference to the frozen weights in the object store.
        layers: How many layers each client of a cohort holds.
        folder: The run directory.
        lease: Name of the lease there.
        say: Told what a person should know besides the rounds.
        slots: How many client actors it may have, in place of what the configuration says; None for that.
        server: Class of the server actor.

    Attributes:
        events: Ray's generator of references to events, for ray.wait.
        notices: What the run has said besides its rounds and should be kept with its results, each once.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        weights: ray.ObjectRef,
        layers: list[int],
        folder: Folder,
        lease: str | None,
        say: Callable[[str], None],
        slots: int | None = None,
        server: type[Server] = Server,
    ) -> None:
        self._class = server
        self._arguments = (blueprint, [weights], layers, str(folder), lease)
        self._attempts = blueprint.config.runtime.max_attempts
        self._say = say
        self._slots = slots
        self._furthest = self._failures = 0
        self.notices: list[str] = []
        self._start()

    def _start(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        remote: Any = ray.remote(self._class)
        # two threads: one runs the experiment, the other can save it and answer at any time
        server = remote.options(num_cpus=SERVER_CPUS, scheduling_strategy=here, max_concurrency=2)
        self._server = server.remote(*self._arguments, self._slots)
        self._began = time.monotonic()
        self._ready = self._server.__ray_ready__.remote()
        self.events = self._server.run.options(num_returns="streaming").remote()

    def next(self) -> RoundReport | Outcome | None:
        """The next round or outcome; None if there was none for a while, or a lost server has been started anew.

        Raises:
            RunFailedError: if the run cannot be completed.
        """
        if not ray.wait([self.events], timeout=_SILENCE_SECONDS)[0]:
            return None
        try:
            event: Notice | RoundReport | Outcome = ray.get(next(self.events))
        except StopIteration:
            raise RunFailedError("the server actor ended without an outcome") from None
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            self._failures += 1
            if self._failures == self._attempts:
                raise RunFailedError(f"the server actor is gone: {error}") from error
            self._say("the server actor is gone; a new one goes on from the last checkpoint")
            _await_cluster(error)
            self._start()
            return None
        if isinstance(event, Notice):
            self._note(event.text)
            return None
        if isinstance(event, RoundReport) and event.round > self._furthest:
            self._furthest, self._failures = event.round, 0
        return event

    def _note(self, text: str) -> None:
        if text not in self.notices:  # a new server repeats them
            self.notices.append(text)
            self._say(text)

    def stall(self) -> Stall | None:
        """What it waits for while none of its actors works; None if one does, or the server has no time to say."""
        if not self._is_up():
            return Stall(time.monotonic() - self._began, f"the server actor, with {SERVER_CPUS:g} CPUs")
        try:
            stall: Stall | None = ray.get(self._server.stall.remote(), timeout=_ANSWER_SECONDS)
        except RayError:  # if the server is gone, its events say so
            return None
        return stall

    def share(self, slots: int) -> None:
        """Let it have so many client actors from now on."""
        if slots != self._slots:
            self._slots = slots
            self._server.share.remote(slots)

    def save(self) -> None:
        """Save the last finished round, within the time that clusters leave."""
        if not answers():
            self._say("the cluster does not answer: what is saved is the last checkpoint")
            return
        if not self._is_up():
            self._say("no round has finished since the last checkpoint")
            return
        try:
            saved = ray.get(self._server.save.remote(), timeout=_GRACE_SECONDS)
            self._say(f"saved after round {saved}" if saved else "no round has finished, so that there is none to save")
        except (RayError, RunFailedError) as error:
            self._say(f"the last finished round could not be saved: {error}")

    def end(self) -> None:
        """Let go of the server and, with it, of its client actors."""
        if answers():
            ray.kill(self._server)

    def _is_up(self) -> bool:
        """Whether the server has started."""
        return bool(ray.wait([self._ready], timeout=0)[0])


def _await_cluster(loss: RayError) -> None:
    """Wait until the cluster answers, with which a server was lost.

    Raises:
        RunFailedError: if it does not.
    """
    end = time.monotonic() + _ABSENCE_SECONDS
    while not answers():
        if time.monotonic() > end:
            raise RunFailedError(f"the Ray cluster is gone, and the server actor with it: {loss}") from loss
        time.sleep(1)
