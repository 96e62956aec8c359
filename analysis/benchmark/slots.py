"""How close a round's wall time is to the clients' training time divided by the slots, and how soon a run starts.

    python -m analysis.benchmark.slots

Runs `fedra-ray` on two CPUs with 6, 30 and 300 clients of depths 12, 10, 8, 6, 4, 3, and reads the run's own tables.
`overhead` is a round's wall time divided by that of its training alone, less one; the first round, in which actors
start, does not count. `first step` is the time from the command to the first client's training, and `imports` what a
fresh process takes to import torch, timm and ray.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from analysis.benchmark.report import parser, show
from analysis.benchmark.start import imports

SLOTS = 2


def measure(clients: int, folder: Path, rounds: int) -> dict[str, Any]:
    """A row of the table, of all rounds but the first."""
    settings = [
        f"fleet.num_clients={clients}",
        f"rounds={rounds}",
        f"training.max_steps={5 if clients < 300 else 1}",
        "training.batch_size=32",
        f"evaluation.every={rounds}",
        f"run_dir={folder}",
    ]
    start = time.perf_counter()
    first_round = 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "fedra_ray", *settings], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or []:
            if line.startswith("round 1/"):
                first_round = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"the run with {clients} clients ended with {process.returncode}")
    table, rows = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("rounds", "clients"))
    busy = dict.fromkeys((row["round"] for row in table), 0.0)
    for row in rows:
        busy[row["round"]] += row["seconds"] / SLOTS
    return {
        "clients": clients,
        "round, s": statistics.median(row["seconds"] for row in table[1:]),
        "overhead": statistics.median(row["seconds"] / busy[row["round"]] for row in table[1:]) - 1,
        "first step after, s": first_round - busy[1],
        "imports, s": imports(),
    }


def main() -> None:
    """Measure, print and write."""
    arguments = parser(__doc__, "slots")
    arguments.set_defaults(repeats=7)
    settings = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(clients, Path(folder) / str(clients), settings.repeats + 1) for clients in (6, 30, 300)]
    show("Rounds of real training", rows, settings.out)


if __name__ == "__main__":
    main()
