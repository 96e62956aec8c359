"""Many runs on one cluster, several at a time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import ray
from rich.console import Console
from rich.live import Live
from rich.table import Table

from fedra_ray.config.errors import RunFailedError, SettingError, error_text
from fedra_ray.config.labels import experiment_label
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.federation.shards import mean_accuracy
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.lease import Lease
from fedra_ray.runtime.connection import connected, nodes
from fedra_ray.runtime.driver import CheckedRun, check_run
from fedra_ray.runtime.grid import RESULTS, Grid, GridRun, Result, shares, tabulate, write
from fedra_ray.runtime.interruption import terminable
from fedra_ray.runtime.live import LiveRun
from fedra_ray.watch import results


@dataclass
class _Active:
    run: GridRun
    checked: CheckedRun
    live: LiveRun


class Sweep:
    """Carries out every run of a grid, and writes one table of results.

    Runs that have finished already are not run again; one that fails takes no other with it. All share the connection,
    one copy of each frozen backbone per node, and the slots, of which each has equally many.

    Args:
        grid: The runs; results.parquet goes to its folder.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._folder = Folder(grid.folder)
        self._waiting = deque(grid.runs)
        self._active: list[_Active] = []
        self._results: dict[str, Result] = {}
        self._states = {run.name: "waiting" for run in grid.runs}
        self._weights: dict[str, ray.ObjectRef] = {}
        self._console = Console(highlight=False, soft_wrap=True)

    def run(self) -> list[Result]:
        """Run all, and return the results in the order of the grid.

        Raises:
            SettingError: if another process uses the folder.
            KeyboardInterrupt: after an interruption, with every run saved.
        """
        with Lease(self._folder):
            self._carry_out()
            return self._conclude()

    def _carry_out(self) -> None:
        runtime = self._grid.runs[0].config.runtime
        with (
            connected(runtime, runtime.max_actors or 0),
            terminable(),
            Live(get_renderable=self._table, console=self._console, auto_refresh=False, transient=True) as self._view,
        ):
            slots = runtime.max_actors or _room(runtime)
            at_once, self._share = shares(len(self._grid.runs), slots, self._grid.parallel)
            try:
                while self._waiting or self._active:
                    while self._waiting and len(self._active) < at_once:
                        self._begin(self._waiting.popleft())
                    self._wait()
            except KeyboardInterrupt:
                for active in self._active:
                    active.live.save()
                self._say("", "stopped; the same command continues every run from its last checkpoint")
                raise
            finally:
                for active in self._active:
                    active.checked.claim.release()

    def _conclude(self) -> list[Result]:
        """Write the table of results, and print it."""
        finished = [self._results[run.name] for run in self._grid.runs]
        write(self._folder, finished)
        self._console.print(tabulate(finished))
        for result in finished:
            if result.error is not None:
                self._console.print(f"failed: {result.run.name}: {result.error}", markup=False)
        self._console.print(f"results in {self._folder}/{RESULTS}", markup=False)
        return finished

    def _begin(self, run: GridRun) -> None:
        runtime = replace(run.config.runtime, max_actors=self._share)
        try:
            checked = check_run(replace(run.config, runtime=runtime))
            if checked.claim.finished is not None:
                self._say(run.name, "already finished")
                self._results[run.name] = Result(run, checked.claim.finished)
                return
            try:
                prepare(checked.folder, checked.blueprint.config)
            except RunFailedError:
                checked.claim.release()
                raise
        except (SettingError, RunFailedError, OSError) as error:
            self._fail(run, error)
            return
        key = repr(run.config.backbone)
        if key not in self._weights:
            self._weights[key] = ray.put(checked.weights)
        say, lease = self._teller(run.name), checked.claim.lease_name
        live = LiveRun(checked.blueprint, self._weights[key], checked.layers, checked.folder, lease, say)
        self._active.append(_Active(run, checked, live))
        say(f"started, {experiment_label(run.config)}")

    def _wait(self) -> None:
        """Take in the next event of whichever run has one."""
        if not self._active:
            return
        ready, _ = ray.wait([active.live.events for active in self._active], num_returns=1)
        (active,) = [candidate for candidate in self._active if candidate.live.events is ready[0]]
        run = active.run
        try:
            event = active.live.next()
            if isinstance(event, RoundReport):
                self._say(run.name, _progress(event, run.config.rounds))
            if not isinstance(event, Outcome):
                return
            summary = results.write(active.checked.folder, active.checked.blueprint, event)
            self._results[run.name] = Result(run, summary)
            self._say(run.name, f"finished, mean accuracy {summary['mean_accuracy']:.2%}")
        except Exception as error:  # whatever ends one run must not end the others
            self._fail(run, error)
        active.live.end()
        active.checked.claim.release()
        self._active.remove(active)

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
        if self._console.is_terminal:
            self._view.refresh()
        else:
            self._console.print(f"{name}  {text}" if name else text, markup=False)

    def _table(self) -> Table:
        table = Table("run", "state")
        for name, state in self._states.items():
            table.add_row(name, state)
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
