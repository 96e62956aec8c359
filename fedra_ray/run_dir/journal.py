"""What an experiment leaves behind as it goes: records, client states, and the restart points that belong to them."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.allocation import DrawnRound
from fedra_ray.federation.dropouts import Responses
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.messages import Score
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.reports import Missing, RoundReport, layer_holders, mean_loss
from fedra_ray.federation.state import Arrays
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.checkpoint import Checkpoint
from fedra_ray.run_dir.claim import PARTITION
from fedra_ray.run_dir.client_states import ClientStates
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.lease import is_held
from fedra_ray.run_dir.parts import to_parquet
from fedra_ray.run_dir.records import Records
from fedra_ray.run_dir.stopwatch import Stopwatch


@dataclass(frozen=True)
class ClosedRound:
    """A round whose average is taken, and of which scores, records and restart point are still to come.

    Attributes:
        drawn: Its cohort and allocation matrix.
        fleet: The clients.
        responses: Who dropped out or was late, and the simulated times.
        whole: The updates that were averaged, rejected, or failed.
        state: After the round.
        scores: Waits for the scores; None if the round is not evaluated.
        watch: Where its time went so far.
    """

    drawn: DrawnRound
    fleet: Fleet
    responses: Responses
    whole: PartialRound
    state: Checkpoint
    scores: Callable[[], list[Score]] | None
    watch: Stopwatch


class Journal:
    """Records, client states and the state of the last finished round, saved together.

    `save` may be called by another thread at any time: it saves that state, and what records hold of the round after
    it is left out when the run is taken up again.

    Args:
        folder: The run directory.
        config: The experiment's; its rounds, and how often and how many restart points are kept.
        lease: Name of the lease without which nothing may be written there any more; None if nobody else can come.
    """

    def __init__(self, folder: Folder, config: ExperimentConfig, lease: str | None = None) -> None:
        self.folder = folder
        self._lease = lease
        self.records = Records(folder)
        self._config = config
        self._state: Checkpoint | None = None
        self._clients = ClientStates(folder)
        self._open: ClosedRound | None = None
        self._lock = threading.Lock()

    def begin(self, partition: pa.Table) -> None:
        """Write down whose images are whose."""
        self.folder.write(PARTITION, to_parquet(partition))

    def restore(self) -> Checkpoint | None:
        """The newest state that can be read, or None; records and client states go back to it."""
        self._state = checkpoint.newest(self.folder)
        number = 0 if self._state is None else self._state.round
        self.records.restore(number)
        self._clients.restore(number)
        return self._state

    def kept(self, clients: Sequence[int]) -> Mapping[int, Arrays]:
        """What clients kept from earlier rounds, by client; only of those that kept anything."""
        return self._clients.read(clients)

    def close(self, closed: ClosedRound) -> None:
        """Take in a round whose average is taken; the next call of `settled` writes it down."""
        self._open = closed
        self._clients.hold(closed.whole.kept)

    def settled(self) -> Iterator[RoundReport]:
        """Wait for the scores of the closed round, if there is one, write everything down, and report it."""
        if self._open is not None:
            closed, self._open = self._open, None
            yield self._settle(closed)

    def end(self) -> None:
        """Turn the records into the tables of a finished run."""
        with self._lock:
            self.records.finish()

    def save(self) -> int:
        """Save the last finished round; returns its number, 0 if there is none.

        Raises:
            RunFailedError: if it cannot be written, or another process has taken over the directory.
        """
        with self._lock:
            state = self._state
            if state is None:
                return 0
            self._check_lease()
            self.records.save()  # first: a restart point without its records would lose them
            checkpoint.save(self.folder, state, self._config.checkpoint.keep)
            return state.round

    def _check_lease(self) -> None:
        if self._lease is not None and not is_held(self.folder, self._lease):
            raise RunFailedError(f"{self.folder} has been taken over by another process; this one writes nothing more")

    def _settle(self, closed: ClosedRound) -> RoundReport:
        watch, number = closed.watch, closed.state.round
        seconds = watch.total
        with watch("evaluation"):
            scores = closed.scores() if closed.scores else []
        with watch("checkpoint"):
            report = _report(closed, seconds, scores, watch.seconds)
            self.records.add(report, closed.whole.reports, closed.drawn, closed.fleet, closed.responses.seconds)
            self._check_lease()
            self._clients.write(number, self._oldest_kept(number))
            self._state = closed.state
            if number == self._config.rounds or number % self._config.checkpoint.every == 0:
                self.save()
        return report

    def _oldest_kept(self, number: int) -> int:
        """The oldest round that the run may be taken up from once this round is written down."""
        rounds = checkpoint.saved_rounds(self.folder) if self._clients.any_held else []
        return min([number, *rounds])


def _report(closed: ClosedRound, seconds: float, scores: list[Score], phases: dict[str, float]) -> RoundReport:
    clients, responses = closed.whole.reports, closed.responses
    failed = [failure.task.client for failure in closed.whole.failures]
    missing = Missing([*responses.dropped, *failed], [*responses.late], closed.whole.rejected)
    return RoundReport(
        round=closed.state.round,
        seconds=seconds,
        cohort=closed.drawn.cohort,
        layer_holders=layer_holders(clients, closed.drawn.matrix.shape[1]),
        loss=mean_loss(clients),
        bytes_up=sum(client.traffic.up for client in clients),
        bytes_down=sum(client.traffic.down for client in clients),
        bytes_fetched=sum(client.task.fetched for client in clients),
        missing=missing,
        simulated_s=responses.duration(missing.clients()),
        retries=sum(client.attempt - 1 for client in clients),
        busy=sum(client.seconds for client in clients),
        scores=scores,
        phases=phases,
    )
