"""What a run takes before its first local step and after its last round.

    python -m analysis.benchmark.start

Runs `fedra-ray` on the embedded data with six clients, and in turn a process that only imports torch, timm and ray.
`first step` is the time from the command to the first client's training, `end` that from the last round to the summary,
`refusal` that of a command whose data set is missing.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from analysis.benchmark.report import parser, show

#: torch, torch's compiler, which timm brings unless it is kept from it, timm and ray.
IMPORTS = "import torch._dynamo; from fedra_ray.model import _torchvision; import ray"
SLOTS = 2
ROUNDS = 4


def imports() -> float:
    """Seconds that a fresh process takes to import torch, timm and ray."""
    return ending([sys.executable, "-c", IMPORTS], 0)


def refusal() -> float:
    """Seconds until a command is refused whose data set is missing."""
    return ending([sys.executable, "-m", "fedra_ray", "dataset.root=/nowhere.parquet"], 2)


def ending(command: list[str], code: int) -> float:
    """Seconds that a command takes, which must end with this exit code."""
    start = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode != code:
        raise RuntimeError(f"{command} ended with {ended.returncode}: {ended.stderr.decode()}")
    return time.perf_counter() - start


def start_and_end(folder: Path) -> tuple[float, float]:
    """Seconds from the command to the first local step, and from the last round to the summary."""
    settings = [f"rounds={ROUNDS}", f"run_dir={folder}", "fleet.num_clients=6", f"evaluation.every={ROUNDS}"]
    settings += ["training.max_steps=5", "training.batch_size=32"]
    command = [sys.executable, "-m", "fedra_ray", *settings]
    begun, lines = time.time(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or []:
            if line.startswith("round "):
                lines.append(time.time())
    if process.returncode:
        raise RuntimeError(f"the run ended with {process.returncode}")
    training = sum(row["seconds"] for row in pq.read_table(folder / "clients.parquet").to_pylist() if row["round"] == 1)
    return lines[0] - begun - training / SLOTS, (folder / "summary.json").stat().st_mtime - lines[-1]


def main() -> None:
    """Measure, print and write."""
    settings = parser(__doc__, "start").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        turns = [(imports(), *start_and_end(Path(folder) / f"{turn}"), refusal()) for turn in range(settings.repeats)]
    loaded, first, end, refused = (statistics.median(column) for column in zip(*turns, strict=True))
    ratio = statistics.median(turn[1] / turn[0] for turn in turns)
    row = {
        "imports, s": loaded,
        "first step, s": first,
        "times the imports": ratio,
        "end, s": end,
        "refusal, s": refused,
    }
    show("Start and end of a run", [row], settings.out)


if __name__ == "__main__":
    main()
