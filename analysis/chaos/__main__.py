"""Disturb runs in every way that a cluster can be, and compare their results bit by bit with an undisturbed one.

    python -m analysis.chaos [--only "node lost" ...] [--set SETTING=VALUE ...]
    python -m analysis.chaos --soak 200

Prints a table: fault, outcome, identical bits. With --soak ROUNDS, one run whose actors, and at times whose driver, are
killed at random every few seconds. Exits 1 if any bit differs. All processes are this command's own.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from analysis.chaos.disturbed import Disturbed
from analysis.chaos.faults import FAULTS, Fault, random_harm
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import read_table

SMALL = [
    "rounds=4",
    "training.batch_size=4",
    "training.max_steps=1",
    "evaluation.every=1",
    "evaluation.split=validation",
    "checkpoint.every=1",
    "on_client_failure=drop",
    "runtime.max_actors=2",
]
LONG = ["evaluation.every=10", "runtime.max_attempts=20"]
LAYERS = 6  # how many the client with the fault holds
DRIVER_DEATHS = 25  # kills in a soak, of which the last hits the driver


def main() -> int:
    """Disturb runs as the command line asks for; returns the exit code: 0 if all bits are identical, else 1."""
    parser = argparse.ArgumentParser(prog="analysis.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="FAULT")
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING=VALUE", help="further settings of the runs")
    parser.add_argument("--layers", type=int, default=LAYERS, help="depth of the client that meets a fault")
    parser.add_argument("--soak", type=int, metavar="ROUNDS", help="kill at random during one run of this length")
    arguments = parser.parse_args()
    # what a shell runs in the background ignores SIGINT, and so does what that starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        settings = [*SMALL, *arguments.set]
        if arguments.soak:
            return soak(Path(name), [*settings, f"rounds={arguments.soak}", *LONG])
        return matrix(Path(name), arguments.only, settings, arguments.layers)


def matrix(folder: Path, names: list[str], settings: list[str], layers: int) -> int:
    """Run every named fault, and print the table; returns the exit code."""
    console = Console(soft_wrap=True)
    reference = undisturbed(folder / "undisturbed", settings)
    table = Table("fault", "outcome", "identical bits")
    same = []
    for name in names:
        fault = FAULTS[name]
        run_dir = folder / name.replace(" ", "-").replace(",", "")
        if fault.always:  # the same cohort without a client that raises an error and harms no actor
            method = [*faulty(layers), "method.options.how=raise", "runtime.max_actors=1"]
            compared = undisturbed(run_dir.with_name("dropped"), [*settings, *method])
        else:
            compared = reference
        start = time.monotonic()
        outcome = fault.outcome
        bits = b""
        try:
            bits = disturb(fault, run_dir, settings, layers)
        except (RuntimeError, TimeoutError, AssertionError) as error:
            outcome = f"{type(error).__name__}: {error}"
        same.append(bits == compared)
        console.print(
            f"{name}: {outcome}, identical bits: {same[-1]}  ({time.monotonic() - start:.0f} s)", markup=False
        )
        table.add_row(name, outcome, str(same[-1]).lower())
    console.print(table)
    return 0 if all(same) else 1


def faulty(layers: int, marker: Path | None = None) -> list[str]:
    """Settings of the method in which clients meet faults; without a marker, on every attempt."""
    options = [f"+method.options.depth={layers}", *([f"+method.options.marker={marker}"] if marker else [])]
    return ["method.name=faulty", "method.target=fedra_ray.testing.faulty.Faulty", "+method.options.how=none", *options]


def undisturbed(run_dir: Path, settings: list[str]) -> bytes:
    """The result of a run that is not disturbed."""
    run = Disturbed(settings, run_dir)
    try:
        if run.end() != 0:
            raise RuntimeError(f"the undisturbed run failed: {run.lines[-3:]}")
    finally:
        run.stop()
    return result(run_dir)


def disturb(fault: Fault, run_dir: Path, settings: list[str], layers: int) -> bytes:
    """The result of a run that meets a fault.

    Raises:
        RuntimeError: if it fails, or the fault did not happen.
    """
    marker = run_dir.with_suffix(".marker")
    method = faulty(layers, None if fault.always else marker) if fault.how != "none" else []
    overrides = [*settings, *method, *([f"method.options.how={fault.how}"] if method else []), *fault.overrides]
    with worker_nodes(fault.nodes) as cluster:
        run = Disturbed(overrides, run_dir, cluster, fault.environment())
        try:
            fault.harm(run)
            code = run.end()
            if fault.ends:
                if code == 0:
                    raise RuntimeError("the run ended as if nothing had happened")
                run.start()
                code = run.end()
            if code != 0:
                raise RuntimeError(f"exit code {code}: {run.lines[-3:]}")
        finally:
            run.stop()
    if method and not fault.always and not marker.exists():
        raise RuntimeError("no client met the fault")
    if fault.always and not any(line.startswith("dropped clients") for line in run.lines):
        raise RuntimeError("the run did not say which client was dropped")
    return result(run_dir)


def result(run_dir: Path) -> bytes:
    """The bytes of the final adapter of a run whose records have every round once.

    Raises:
        RuntimeError: if a round is missing or there twice.
    """
    folder = Folder(run_dir)
    rounds = read_table(folder, "rounds")["round"].to_pylist()
    if rounds != list(range(1, len(rounds) + 1)):
        raise RuntimeError(f"the records have rounds {rounds}")
    return (run_dir / "adapter" / "adapter_model.safetensors").read_bytes()


@contextmanager
def worker_nodes(count: int) -> Iterator[Cluster | None]:
    """A cluster of a head, whose one CPU goes to the server, and `count` nodes for one client each; None for 0."""
    if count == 0:
        yield None
        return
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        with suppress(psutil.Error):
            cluster.shutdown()


def soak(folder: Path, settings: list[str]) -> int:
    """Kill processes of a run at random until it is done; returns the exit code."""
    console = Console(soft_wrap=True)
    expected = undisturbed(folder / "undisturbed", settings)
    console.print("the undisturbed run is done", markup=False)
    draws = np.random.default_rng(0)
    run = Disturbed(settings, folder / "disturbed")
    kills = 0
    try:
        run.reach(1)
        while True:
            with suppress(TimeoutError):
                deadline = time.monotonic() + draws.uniform(3, 9)
                while (left := deadline - time.monotonic()) > 0 and run.next_line(left) is not None:
                    pass
            if run.process.poll() == 0:
                break
            kills += 1
            victim = "driver"
            if kills % DRIVER_DEATHS == 0 or run.process.poll() is not None:
                run.interrupt(signal.SIGKILL)
                run.process.wait()
                run.start()
            else:
                victim = random_harm(draws.random())
            console.print(f"kill {kills}: {victim}; {run.lines[-1]}", markup=False)
    finally:
        run.stop()
    same = result(folder / "disturbed") == expected
    console.print(f"{kills} kills, identical bits: {same}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
