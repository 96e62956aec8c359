"""Many runs on one cluster, several at a time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import ray
from rich.console import Console
from rich.live import Live
from rich.table import Table

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder
from fedra_ray.runtime.connection import connected, nodes
from fedra_ray.runtime.driver import Draft, draw_draft
from fedra_ray.runtime.grid import RESULTS, Cell, Result, shares, tabulate, write
from fedra_ray.runtime.interruption import terminable
from fedra_ray.runtime.live import LiveRun
from fedra_ray.watch import results


@dataclass
class _Active:
    cell: Cell
    draft: Draft
    live: LiveRun


class Sweep:
    """Runs every cell of a grid, and writes one table of results.

    Runs that are finished already are not run again; one that fails takes no other with it. All share the connection,
    one copy of each frozen backbone a node, and the slots, equally many for each.

    Args:
        cells: The runs.
        out: Folder of the sweep; results.parquet goes there.
        parallel: How many runs go on at once; None to go by the slots.
    """

    def __init__(self, cells: list[Cell], out: str, parallel: int | None) -> None:
        self._waiting = deque(cells)
        self._cells, self._folder, self._parallel = cells, Folder(out), parallel
        self._active: list[_Active] = []
        self._results: dict[str, Result] = {}
        self._states = {cell.name: "waiting" for cell in cells}
        self._weights: dict[str, ray.ObjectRef] = {}
        self._console = Console(highlight=False, soft_wrap=True)

    def run(self) -> list[Result]:
        """Run all, and return the results in the order of the cells.

        Raises:
            KeyboardInterrupt: after an interruption, with every run saved.
        """
        runtime = self._cells[0].config.runtime
        with (
            connected(runtime, runtime.max_actors or 0),
            terminable(),
            Live(get_renderable=self._table, console=self._console, auto_refresh=False, transient=True) as self._view,
        ):
            slots = runtime.max_actors or _room(runtime)
            at_once, self._share = shares(len(self._cells), slots, self._parallel)
            try:
                while self._waiting or self._active:
                    while self._waiting and len(self._active) < at_once:
                        self._begin(self._waiting.popleft())
                    self._wait()
            except KeyboardInterrupt:
                for active in self._active:
                    active.live.save()
                self._say("", "stopped; the same command goes on from the last checkpoints")
                raise
        found = [self._results[cell.name] for cell in self._cells]
        write(self._folder, found)
        self._console.print(tabulate(found))
        for result in found:
            if result.error is not None:
                self._console.print(f"failed: {result.cell.name}: {result.error}", markup=False)
        self._console.print(f"results in {self._folder}/{RESULTS}", markup=False)
        return found

    def _begin(self, cell: Cell) -> None:
        runtime = replace(cell.config.runtime, max_actors=self._share)
        try:
            draft = draw_draft(replace(cell.config, runtime=runtime))
            if draft.finished is not None:
                self._say(cell.name, "finished before")
                self._results[cell.name] = Result(cell, draft.finished)
                return
            prepare(draft.folder, draft.blueprint.config)
        except (SettingError, RunFailedError, OSError) as error:
            self._fail(cell, error)
            return
        key = repr(cell.config.backbone)
        if key not in self._weights:
            self._weights[key] = ray.put(draft.weights)
        say = self._teller(cell.name)
        live = LiveRun(draft.blueprint, self._weights[key], draft.layers, draft.folder, say)
        self._active.append(_Active(cell, draft, live))
        say("started")

    def _wait(self) -> None:
        """Take in the next event of whichever run has one."""
        if not self._active:
            return
        ready, _ = ray.wait([active.live.events for active in self._active], num_returns=1)
        (active,) = [each for each in self._active if each.live.events is ready[0]]
        cell, draft = active.cell, active.draft
        try:
            event = active.live.next()
            if isinstance(event, RoundReport):
                self._say(cell.name, _progress(event, draft.blueprint.config.rounds))
            if not isinstance(event, Outcome):
                return
            summary = results.write(draft.folder, draft.blueprint, event)
            self._results[cell.name] = Result(cell, summary)
            self._say(cell.name, f"finished, mean accuracy {summary['mean_accuracy']:.2%}")
        except Exception as error:  # whatever ends one run must not end the others
            self._fail(cell, error)
        active.live.end()
        self._active.remove(active)

    def _fail(self, cell: Cell, error: Exception) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        self._results[cell.name] = Result(cell, None, reason)
        self._say(cell.name, f"failed: {reason}")

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
    mean = sum(score.top1 / score.examples for score in event.scores) / max(1, len(event.scores))
    accuracy = f"  accuracy {mean:.2%}" if event.scores else ""
    return f"round {event.round}/{rounds}  loss {event.loss:.3f}{accuracy}"


def _room(runtime: RuntimeConfig) -> int:
    """How many full slots the cluster has room for."""
    cpus = sum(int((node.cpus + 1e-9) / runtime.num_cpus) for node in nodes())
    if runtime.num_gpus:
        return max(1, min(cpus, int(sum(node.gpus for node in nodes()) / runtime.num_gpus + 1e-9)))
    return max(1, cpus)
