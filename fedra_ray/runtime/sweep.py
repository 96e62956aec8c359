"""Many runs on one cluster, several at a time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fedra_ray.config.errors import error_text
from fedra_ray.config.labels import experiment_label
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.federation.shards import mean_accuracy
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder, below
from fedra_ray.run_dir.lease import Lease
from fedra_ray.runtime.connection import connected, nodes, refuse_excess
from fedra_ray.runtime.driver import CheckedRun, check_run
from fedra_ray.runtime.grid import (
    RESULTS,
    Grid,
    GridRun,
    Result,
    at_once,
    share,
    summary_of,
    tabulate,
    write,
)
from fedra_ray.runtime.interruption import terminable
from fedra_ray.runtime.live import LiveRun
from fedra_ray.runtime.placement import plan_slots
from fedra_ray.runtime.waiting import NoRoomError, Patience
from fedra_ray.watch import results
from fedra_ray.watch.writers import Writer, make_writers

_FOLLOW_SECONDS = 2.0  # between looks at the cluster while nothing happens


@dataclass
class _Active:
    """A run that goes on; `told` is the last round that its writers have."""

    run: GridRun
    checked: CheckedRun
    live: LiveRun
    writers: list[Writer]
    told: int = 0

    def note(self, report: RoundReport) -> None:
        """Tell the writers of a round, unless a new server repeats it."""
        if report.round > self.told:
            self.told = report.round
            for writer in self.writers:
                writer.round(report)


class Sweep:
    """Carries out every run of a grid, and writes a table of the results and a page that compares them.

    Runs that have finished already are not run again; one that fails takes no other with it. All share the connection,
    one copy of each frozen backbone per node, and the slots, of which each that goes on has equally many: whenever a
    run begins or ends, or nodes come or go, the shares are dealt anew.

    Args:
        grid: The runs; results.parquet and report.html go to its folder.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._folder = Folder(grid.folder)
        self._runtime = grid.runs[0].config.runtime
        self._waiting: deque[GridRun] = deque()
        self._active: list[_Active] = []
        self._results: dict[str, Result] = {}
        self._states = {run.name: "waiting" for run in grid.runs}
        self._weights: dict[str, ray.ObjectRef] = {}
        self._private = False
        self._patience = Patience(self._runtime.wait_s, self._teller(""))
        self._console = Console(highlight=False, soft_wrap=True)
        self._view = Live(get_renderable=self._table, console=self._console, auto_refresh=False, transient=True)

    def run(self) -> list[Result]:
        """Run all, and return the results in the order of the grid.

        Raises:
            SettingError: if no cluster answers at the address, or another process uses the folder.
            RunFailedError: if all runs that go on have waited for too long, with every run saved.
            KeyboardInterrupt: after an interruption, with every run saved.
        """
        with Lease(self._folder):
            with self._view:
                for run in self._grid.runs:
                    summary = summary_of(run.config)
                    if summary is None:
                        self._waiting.append(run)
                    else:
                        self._finish(run, summary, "already finished")
                if self._waiting:
                    slots = max(self._runtime.max_actors or 0, self._grid.parallel or 0)
                    with connected(self._runtime, slots) as self._private, terminable():
                        self._carry_out()
            return self._conclude()

    def _carry_out(self) -> None:
        """Run what is waiting, to the end."""
        try:
            while self._waiting or self._active:
                self._deal()
                self._wait()
        except (KeyboardInterrupt, NoRoomError):
            for active in self._active:
                active.live.save()
                self._close(active, None)
            self._say("", "stopped; the same command continues every run from its last checkpoint")
            raise
        finally:
            for active in self._active:
                active.checked.claim.release()

    def _deal(self) -> None:
        """Begin the runs that there is room for, and give each that goes on its share of the slots."""
        slots, tiers = self._runtime.max_actors or _room(self._runtime), len({*self._runtime.tier_labels.values()})
        wanted = at_once(len(self._waiting) + len(self._active), slots // max(1, tiers), self._grid.parallel)
        while self._waiting and len(self._active) < wanted:
            self._begin(self._waiting.popleft(), share(wanted, slots, tiers))
        for active in self._active:
            active.live.share(share(len(self._active), slots, tiers))

    def _begin(self, run: GridRun, slots: int) -> None:
        """Start a run; whatever keeps it from that must not end the others."""
        try:
            checked = check_run(run.config)
        except Exception as error:
            self._fail(run, error)
            return
        if checked.claim.finished is not None:
            self._finish(run, checked.claim.finished, "already finished")
            return
        try:
            self._active.append(self._started(run, checked, slots))
        except Exception as error:
            checked.claim.release()
            self._fail(run, error)
            return
        self._say(run.name, f"started, {experiment_label(run.config)}")

    def _started(self, run: GridRun, checked: CheckedRun, slots: int) -> _Active:
        if self._private:
            runtime = replace(run.config.runtime, max_actors=slots)
            refuse_excess(plan_slots(checked.layers, checked.blueprint.num_layers, nodes(), runtime), runtime)
        writers = make_writers(checked.blueprint.config)
        prepare(checked.folder, checked.blueprint.config)
        key = repr((run.config.backbone, run.config.training.precision))
        if key not in self._weights:
            self._weights[key] = ray.put(checked.weights)
        live = LiveRun(
            checked.blueprint,
            self._weights[key],
            checked.layers,
            checked.folder,
            checked.claim.lease_name,
            self._teller(run.name),
            slots,
        )
        return _Active(run, checked, live, writers)

    def _wait(self) -> None:
        """Take in the next event of whichever run has one."""
        if not self._active:
            return
        events = [active.live.events for active in self._active]
        ready, _ = ray.wait(events, num_returns=1, timeout=_FOLLOW_SECONDS)
        if not ready:  # runs may wait for each other's slots, so only all of them can wait in vain
            self._patience.look([active.live.stall() for active in self._active])
        for active in [candidate for candidate in self._active if candidate.live.events in ready]:
            self._take(active)

    def _take(self, active: _Active) -> None:
        """Take in the next event of a run."""
        run, summary = active.run, None
        try:
            event = active.live.next()
            if isinstance(event, RoundReport):
                active.note(event)
                self._say(run.name, _progress(event, run.config.rounds))
            if not isinstance(event, Outcome):
                return
            summary = results.write(active.checked.folder, active.checked.blueprint, event, active.live.notices)
            self._finish(run, summary, f"finished, mean accuracy {summary['mean_accuracy']:.2%}")
        except Exception as error:  # whatever ends one run must not end the others
            self._fail(run, error)
        active.live.end()
        active.checked.claim.release()
        self._active.remove(active)
        self._close(active, summary)

    def _close(self, active: _Active, summary: dict[str, Any] | None) -> None:
        """Tell the writers of a run that it has ended."""
        for writer in active.writers:
            try:
                writer.close(summary)
            except Exception as error:  # the run has ended, well or not
                self._say(
                    "", f"{active.run.name}  {type(writer).__name__} was not told of the end: {error_text(error)}"
                )

    def _conclude(self) -> list[Result]:
        """Write the table of results and the page, and print the former."""
        ended = [self._results[run.name] for run in self._grid.runs]
        write(self._folder, ended)
        self._console.print(tabulate(ended))
        for result in ended:
            if result.error is not None:
                self._console.print(f"failed: {result.run.name}: {result.error}", markup=False)
        finished = [Folder(result.run.config.run_dir) for result in ended if result.summary is not None]
        page = results.write_comparison(self._folder, finished)
        compared = "" if page is None else f", compared in {page}"
        self._console.print(f"results in {below(str(self._folder), RESULTS)}{compared}", markup=False)
        return ended

    def _finish(self, run: GridRun, summary: dict[str, Any], state: str) -> None:
        self._results[run.name] = Result(run, summary)
        self._say(run.name, state)

    def _fail(self, run: GridRun, error: Exception) -> None:
        reason = error_text(error)
        self._results[run.name] = Result(run, None, reason)
        self._say(run.name, f"failed: {reason}")

    def _teller(self, name: str) -> Callable[[str], None]:
        return lambda text: self._say(name, text)

    def _say(self, name: str, text: str) -> None:
        """Keep the live table up to date; where there is no terminal, print a line."""
        if name:
            self._states[name] = text
        if name and self._console.is_terminal:
            self._view.refresh()
        else:
            self._console.print(f"{name}  {text}" if name else text, markup=False)

    def _table(self) -> Table:
        table = Table("run", "state")
        for name, state in self._states.items():
            table.add_row(escape(name), escape(state))
        return table


def _progress(event: RoundReport, rounds: int) -> str:
    accuracy = f"  accuracy {mean_accuracy(event.scores):.2%}" if event.scores else ""
    return f"round {event.round}/{rounds}  loss {event.loss:.3f}{accuracy}"


def _room(runtime: RuntimeConfig) -> int:
    """How many slots for the whole model the cluster has room for; at least one."""
    cpus = sum(int((node.cpus + 1e-9) / runtime.num_cpus) for node in nodes())
    if runtime.num_gpus:
        return max(1, min(cpus, int(sum(node.gpus for node in nodes()) / runtime.num_gpus + 1e-9)))
    return max(1, cpus)
