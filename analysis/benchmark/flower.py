"""Flower's simulation engine on clients that echo, for comparison; it runs in an environment of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from fedra_ray.runtime.interruption import terminable

SCRIPT = Path(__file__).with_name("flower_echo.py")
ENVIRONMENT = Path(__file__).parents[2] / ".venv-flower"
PATIENCE = 900.0  # seconds


def measure(clients: int, rounds: int, environment: Path = ENVIRONMENT) -> dict[str, Any] | None:
    """Time rounds of plain FedAvg in Flower, on two CPUs.

    Args:
        clients: How many clients there are; each echoes 614,400 bytes in every round.
        rounds: How many rounds are timed.
        environment: Where Flower is installed.

    Returns:
        clients, rounds, seconds (per round, median), cpu_seconds (per round, mean) and memory_mib (peak sum of PSS), as
        flower_echo.py defines them. None, with a line on stderr, if Flower is not installed.

    Raises:
        RuntimeError: if Flower fails.
        subprocess.TimeoutExpired: if it takes more than 15 minutes.
    """
    if not (environment / ".ready").exists():
        print(f"no Flower in {environment}: `make flower` sets it up", file=sys.stderr)
        return None
    command = [str(environment / "bin/python"), str(SCRIPT), f"--clients={clients}", f"--rounds={rounds}"]
    # what a user has set for the project's own Python and Ray means something else there
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_"))}
    with tempfile.TemporaryDirectory(prefix="flower-", dir="/tmp") as folder:  # a short path, for Ray's sockets
        return parse(run(command, inherited | {"FLWR_HOME": folder, "RAY_TMPDIR": folder}, PATIENCE))


def parse(printed: str) -> dict[str, Any]:
    """The measurement, which is the last line of what the script printed."""
    measurement: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return measurement


def run(command: list[str], environment: dict[str, str], patience: float) -> str:
    """What a command prints; nothing that it has started outlives this call, however it ends.

    Raises:
        RuntimeError: if the command fails; with the end of what it wrote on stderr.
        subprocess.TimeoutExpired: if it takes longer than `patience` seconds.
    """
    pipe = subprocess.PIPE
    with (
        terminable(),
        subprocess.Popen(
            command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        ) as process,
    ):
        try:
            printed, complaints = process.communicate(timeout=patience)
        finally:
            end_session(process.pid)
    if process.returncode != 0:
        raise RuntimeError(f"{command[1]} ended with {process.returncode}: {complaints.strip()[-2000:]}")
    return printed


def end_session(session: int) -> None:
    """Kill what is left of a session: Ray's workers are in process groups of their own, but stay in the session."""
    while left := [process for process in psutil.process_iter() if _lives_in(session, process)]:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.05)


def _lives_in(session: int, process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
