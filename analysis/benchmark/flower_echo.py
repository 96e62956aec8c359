"""Plain FedAvg in Flower's simulation engine, of clients that echo what they are sent and train nothing.

    .venv-flower/bin/python analysis/benchmark/flower_echo.py --clients 32 --rounds 10

Runs in Flower's own environment, and so imports nothing of this project; `analysis.benchmark.flower` starts it. A
client returns the message's 48 arrays of (8, 400) float32 as they came, without decoding them, which spares Flower the
conversion that real clients need. There are two CPUs, one for each client that runs, and no evaluation. The engine is
called by `run_simulation`, which keeps the server in this process: `flwr run`, its successor on the command line,
starts the same engine behind services of its own.

Prints one line of JSON:
    clients, rounds: As on the command line; ROUNDS rounds are timed, after two that are not.
    seconds: Per round, from the end of one aggregation to the end of the next; median.
    cpu_seconds: Per round, user and system time of this process and all below it; mean over those rounds.
    memory_mib: Peak of the same processes' proportional set sizes (PSS), which count shared pages once; sampled in
        further rounds, which are not timed.
"""

import argparse
import json
import os
import re
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

# read when Flower and Ray are imported: no telemetry, and Ray listens on the loopback address alone, with a token
os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    RAY_AUTH_MODE="token",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    RAY_USAGE_STATS_ENABLED="0",
)

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

ARRAYS = 48
SHAPE = (8, 400)
CPUS = 2
WARM_UP_ROUNDS = 2
MEMORY_ROUNDS = 3
MEMORY_INTERVAL = 0.1  # seconds


def process_state(folder: Path) -> list[str]:
    """The fields of /proc/PID/stat after the process's name, from its state on (field 3 of proc(5))."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def family() -> list[Path]:
    """Folders in /proc of this process and its living descendants."""
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            children[process_state(folder)[1]].append(folder)
    folders = [Path(f"/proc/{os.getpid()}")]
    for folder in folders:  # which grows meanwhile, generation by generation
        folders += children[folder.name]
    return folders


def cpu_seconds() -> float:
    """User and system time so far of the family, ended descendants included."""
    ticks = 0
    for folder in family():
        with suppress(OSError):
            ticks += sum(map(int, process_state(folder)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib() -> float:
    """Sum of the family's proportional set sizes."""
    kib = 0
    for folder in family():
        with suppress(OSError):
            kib += sum(map(int, re.findall(r"^Pss: +(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE)))
    return kib / 1024


class MemorySampler(threading.Thread):
    """Samples the family's memory until it is stopped.

    Attributes:
        peak: The largest sample, in MiB.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Take samples until `stop` is called."""
        while not self._stopped.is_set():
            self.peak = max(self.peak, memory_mib())
            self._stopped.wait(MEMORY_INTERVAL)

    def stop(self) -> None:
        """Stop, once the last sample is taken."""
        self._stopped.set()
        self.join()


class MeasuredFedAvg(FedAvg):
    """FedAvg of all clients, which measures its own rounds.

    Args:
        clients: How many clients there are.
        rounds: How many rounds are timed.

    Attributes:
        ends: When each round's aggregation ended.
        cpu: CPU seconds of the family before the timed rounds and after them.
        sampler: Runs after the timed rounds.
    """

    def __init__(self, clients: int, rounds: int) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
        self.clients = clients
        self.last_timed = WARM_UP_ROUNDS + rounds
        self.ends: list[float] = []
        self.cpu: list[float] = []
        self.sampler = MemorySampler()

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate, and note what that took."""
        replies = list(replies)
        aggregated = super().aggregate_train(server_round, replies)
        answered = sum(not reply.has_error() for reply in replies)
        if answered != self.clients:
            raise RuntimeError(f"round {server_round}: {answered} of {self.clients} clients answered")
        self.ends.append(time.perf_counter())
        if server_round in (WARM_UP_ROUNDS, self.last_timed):
            self.cpu.append(cpu_seconds())
        if server_round == self.last_timed:
            self.sampler.start()
        return aggregated

    def result(self) -> dict[str, float]:
        """What was measured, by the names in this module's docstring."""
        timed = self.ends[WARM_UP_ROUNDS - 1 : self.last_timed]
        seconds = statistics.median(after - before for before, after in pairwise(timed))
        rounds = len(timed) - 1
        return {
            "clients": self.clients,
            "rounds": rounds,
            "seconds": round(seconds, 4),
            "cpu_seconds": round((self.cpu[1] - self.cpu[0]) / rounds, 4),
            "memory_mib": round(self.sampler.peak, 1),
        }


def simulate(clients: int, rounds: int) -> dict[str, float]:
    """Run the engine, with a Ray of its own, and return what the strategy measured."""
    client, server = ClientApp(), ServerApp()
    strategy = MeasuredFedAvg(clients, rounds)

    @client.train()
    def echo(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        rng = np.random.default_rng(0)
        arrays = {f"array{number}": Array(rng.standard_normal(SHAPE, dtype=np.float32)) for number in range(ARRAYS)}
        strategy.start(grid, ArrayRecord(arrays), num_rounds=strategy.last_timed + MEMORY_ROUNDS)
        strategy.sampler.stop()  # before the engine takes Ray down

    ray = {"address": "local", "num_cpus": CPUS, "include_dashboard": False}
    run_simulation(server, client, clients, backend_config={"init_args": ray, "client_resources": {"num_cpus": 1}})
    return strategy.result()


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    print(json.dumps(simulate(arguments.clients, arguments.rounds)))


if __name__ == "__main__":
    main()
