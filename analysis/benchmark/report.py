"""How benchmarks take turns, and show their numbers: in a table on the screen, and as Parquet."""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

_START = psutil.cpu_times()


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """The command line of a benchmark, with the arguments that all have."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=7)
    arguments.add_argument("--out", type=Path, default=Path(f"benchmarks/{name}.parquet"))
    return arguments


def show(title: str, rows: list[dict[str, Any]], out: Path) -> None:
    """Print rows of equal keys as a table, and write them with the date and the machine."""
    table = Table(title=title)
    for number, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    table.caption = f"{machine()}; other machines took {stolen():.0%} of its time meanwhile"
    Console(width=140).print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    measured = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "stolen": stolen()}
    pq.write_table(pa.Table.from_pylist([measured | row for row in rows]), out)


def stolen() -> float:
    """The share of processor time since the start that other machines of the host took; 0 without virtualisation."""
    now = psutil.cpu_times()
    spent = sum(now) - sum(_START)
    return (getattr(now, "steal", 0.0) - getattr(_START, "steal", 0.0)) / spent if spent else 0.0


def machine() -> str:
    """The processor, as the system calls it, with torch's version."""
    names = [line.split(":")[1].strip() for line in _cpu_info() if line.startswith("model name")]
    return f"{len(names)} x {names[0] if names else platform.machine()}, torch {torch.__version__}"


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def take_turns(functions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of every function, called in turn, after one call of each that does not count."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats + 1):
        for function, measured in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            measured.append(time.perf_counter() - start)
    return [statistics.median(measured[1:]) for measured in seconds]
