"""A run in processes of its own, which can be watched and harmed from outside."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

PATIENCE = 240.0  # seconds after which a run counts as hanging


class Disturbed:
    """A run of the command line.

    Args:
        overrides: Its settings.
        run_dir: Its folder.
        cluster: The cluster that it uses; None for a private Ray of its own.
        environment: Further environment variables.
    """

    def __init__(
        self,
        overrides: list[str],
        run_dir: Path,
        cluster: Cluster | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        address = "local" if cluster is None else cluster.address
        self.run_dir = run_dir
        self.cluster = cluster
        self.lines: list[str] = []
        self.command = [sys.executable, "-m", "fedra_ray", *overrides, f"run_dir={run_dir}"]
        self.command.append(f"runtime.address={address}")
        self._environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self) -> None:
        """Start the command, or start it again to resume the run."""
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment
        )
        self._arriving: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self._arriving), daemon=True).start()

    @staticmethod
    def _read(process: subprocess.Popen[str], arriving: "queue.Queue[str | None]") -> None:
        for line in process.stdout or ():
            arriving.put(line.rstrip())
        arriving.put(None)

    def next_line(self, timeout: float = PATIENCE) -> str | None:
        """The next line of the output; None at its end.

        Raises:
            TimeoutError: if none comes in time.
        """
        try:
            line = self._arriving.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no line within {timeout} s; the last: {self.lines[-1:]}") from None
        if line is not None:
            self.lines.append(line)
        return line

    def reach(self, number: int) -> None:
        """Wait until a round is done.

        Raises:
            RuntimeError: if the run ends before it.
        """
        while (line := self.next_line()) is not None:
            progress = re.match(r"round +(\d+)/", line)
            if progress and int(progress[1]) >= number:
                return
        raise RuntimeError(f"ended before round {number}: {self.lines[-3:]}")

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        while self.next_line() is not None:
            pass
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """End what is left of the run."""
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            self.process.wait()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal to the driver."""
        self.process.send_signal(number)


def actors(title: str) -> list[psutil.Process]:
    """The Ray actors below this process whose title, their class and the method that they run, begins with this one."""
    living = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, IndexError):
            if process.cmdline()[0].startswith(f"ray::{title}") and process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
    return living


def wait_for(title: str, matches: Callable[[psutil.Process], bool] = lambda process: True) -> psutil.Process:
    """The first such actor, as soon as there is one.

    Raises:
        TimeoutError: if none comes.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for process in actors(title):
            if matches(process):
                return process
        time.sleep(0.002)
    raise TimeoutError(f"no actor is in {title}")


def kill_node(worker: psutil.Process) -> None:
    """Kill a worker's node at once: its raylet with all that it has started."""
    raylet = worker.parent()
    if raylet is None or raylet.name() != "raylet":
        raise RuntimeError(f"{worker} is not a child of a raylet")
    raylet.suspend()  # or it would start new workers while they are killed
    for process in [*raylet.children(recursive=True), raylet]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
