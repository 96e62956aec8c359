"""How far runs are, in print: a few lines for one, a table for several."""

import math
from collections.abc import Iterator
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedra_ray.config.errors import one_line
from fedra_ray.config.units import clock
from fedra_ray.run_dir.command import resume_command
from fedra_ray.run_dir.status import Status

#: Columns of the table, and how narrow a terminal may make them; the texts of the others stay on one line.
_COLUMNS = {"run": 12, "of": 9, "state": 8, "rounds": 0, "age": 0, "to go": 0, "loss": 0, "accuracy": 0, "missing": 8}


def show(statuses: list[Status], now: datetime) -> None:
    """Print a few lines for one run, a table for several.

    Args:
        statuses: How far the runs are.
        now: The time to which ages of checkpoints refer.
    """
    console = Console(highlight=False, soft_wrap=True)
    if len(statuses) == 1:
        first, *others = map(one_line, _lines(statuses[0], now))
        console.print("\n  ".join([first, *others]), markup=False)
    elif statuses:
        table = Table(box=SIMPLE_HEAD, padding=0)
        for label, width in _COLUMNS.items():
            table.add_column(label, overflow="fold", min_width=width, no_wrap=not width)
        for status in statuses:
            table.add_row(*(escape(one_line(cell)) for cell in _cells(status, now)))
        console.print(table)


def _lines(status: Status, now: datetime) -> Iterator[str]:
    yield f"{status.run_dir}: {status.method} with {status.backbone} on {status.dataset}, {status.state}"
    age = _age(status, now)
    yield f"rounds: {status.done} of {status.rounds} done" + (f"; the checkpoint is {age} old" if age else "")
    if status.seconds is not None:
        left = "" if status.state == "finished" else f", about {_clock(status.seconds_left)} to go"
        yield f"time: {status.seconds:.3g} s per round{left}"
    if status.loss is not None:
        loss = "none (no valid update)" if math.isnan(status.loss) else f"{status.loss:.3f}"
        yield f"loss: {loss} in round {status.done}"
    if status.accuracy:
        domains = ", ".join(f"{domain} {accuracy:.2%}" for domain, accuracy in status.accuracy.items())
        yield f"accuracy after round {status.evaluated}: mean {status.mean_accuracy:.2%}; {domains}"
    for reason, clients in status.missing.items():
        if clients:
            counts = ", ".join(f"{client} ({count})" for client, count in clients.items())
            yield f"{reason} clients, and in how many rounds: {counts}"
    if status.simulated_hours is not None:
        yield f"on the simulated devices: {status.simulated_hours:.3g} hours"
    if status.state != "finished":
        start = f"continue after round {status.done}" if status.done else "start it"
        yield f"to {start}: {resume_command(status.run_dir)}"


def _cells(status: Status, now: datetime) -> tuple[str, ...]:
    missing = (f"{sum(clients.values())} {reason}" for reason, clients in status.missing.items() if clients)
    return (
        status.run_dir,
        f"{status.method} {status.backbone} {status.dataset}",
        status.state,
        f"{status.done}/{status.rounds}",
        _age(status, now),
        "" if status.state == "finished" else _clock(status.seconds_left),
        "" if status.loss is None else f"{status.loss:.3f}",
        "" if status.mean_accuracy is None else f"{status.mean_accuracy:.2%}",
        ", ".join(missing),
    )


def _age(status: Status, now: datetime) -> str:
    """How long ago the newest checkpoint was written; never negative, whatever the clock of its file system says."""
    return "" if status.saved is None else _clock(max(0.0, (now - status.saved).total_seconds()))


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else clock(seconds)
