"""Whether anything grows in a long run: the private memory of driver, server and client actors, round after round.

    python -m analysis.benchmark.soak [--rounds 2000]

300 of 10,000 clients a round send back what they got; server, records, checkpoints and display are those of a real run.
Memory is what only a process uses (unique set size). The slope is that of a line through the later three quarters of
the rounds, with its 95 % interval from blocks of rounds, since neighbouring samples are alike.
"""

import json
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import psutil
from numpy.typing import NDArray

from analysis.benchmark.report import parser, show
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.runtime.environment import declare

COHORT, FLEET, SLOTS = 300, 10_000, 2
_BLOCKS = 10  # of rounds, whose means are taken as independent
_T95 = 2.306  # two-sided quantile of Student's t for the slope of a line through as many points
_ACTOR = re.compile(r"ray::(Echo\w+)")


def processes() -> dict[int, str]:
    """The driver, the server and the client actors by process id."""
    own = psutil.Process(os.getpid())
    named = {own.pid: "driver"}
    for process in own.children(recursive=True):
        with suppress(psutil.Error, IndexError):
            actor = _ACTOR.match(process.cmdline()[0])
            if actor:
                named[process.pid] = "server" if actor[1] == "EchoServer" else f"actor {process.pid}"
    return named


def sample(number: int, out: TextIO) -> None:
    """Write the private memory of every process after a round, in 10^6 bytes, as lines of JSON."""
    for process, name in processes().items():
        with suppress(psutil.Error):
            private = psutil.Process(process).memory_full_info().uss / 1e6
            print(json.dumps({"round": number, "process": name, "private, MB": private}), file=out)


def slope(rounds: NDArray[np.float64], megabytes: NDArray[np.float64]) -> tuple[float, float]:
    """Growth in MB per 1,000 rounds, and half the width of its 95 % interval.

    Args:
        rounds: (samples,), ascending.
        megabytes: (samples,).
    """
    later = rounds >= rounds[0] + (rounds[-1] - rounds[0]) / 4
    blocks = [np.array_split(values[later], _BLOCKS) for values in (rounds, megabytes)]
    x, y = (np.array([block.mean() for block in values]) for values in blocks)
    centred = x - x.mean()
    growth = centred @ y / (centred @ centred)
    rest = y - y.mean() - growth * centred
    error = np.sqrt(rest @ rest / (_BLOCKS - 2) / (centred @ centred))
    return 1000 * float(growth), 1000 * _T95 * float(error)


def run(rounds: int, every: int) -> list[dict[str, Any]]:
    """Samples of a run on the Ray instance that this process is connected to."""
    import ray

    from analysis.benchmark.echo import EchoServer, blueprint_of
    from fedra_ray.run_dir.folder import Folder
    from fedra_ray.runtime.live import LiveRun
    from fedra_ray.watch.display import Display

    # samples go to a file: kept here, they would themselves grow by some 0.3 MB in 1,000 rounds
    with tempfile.TemporaryFile("w+") as samples, tempfile.TemporaryDirectory() as folder:
        blueprint = blueprint_of(COHORT, rounds, FLEET, SLOTS)
        display = Display(blueprint.config)
        layers = [blueprint.num_layers] * SLOTS
        live = LiveRun(blueprint, ray.put({}), layers, Folder(folder), None, display.say, server=EchoServer)
        while not isinstance(event := live.next(), Outcome):
            if isinstance(event, RoundReport):
                display.round(event)
                if event.round % every == 0:
                    sample(event.round, samples)
        live.end()
        samples.seek(0)
        return [json.loads(line) for line in samples]


def draw(samples: list[dict[str, Any]], slopes: dict[str, tuple[float, float]], out: Path) -> None:
    """The curves, with their slopes in the legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, (growth, half) in slopes.items():
        rounds, megabytes = series(samples, name)
        axes.plot(rounds, megabytes, label=f"{name}: {growth:+.2f} ± {half:.2f} MB per 1,000 rounds")
    axes.set(xlabel="round", ylabel="private memory, MB", ylim=(0, None))
    axes.legend()
    figure.savefig(out)


def series(samples: list[dict[str, Any]], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rounds and the megabytes of a process."""
    rows = [row for row in samples if row["process"] == name]
    rounds, megabytes = (np.array([row[column] for row in rows], np.float64) for column in ("round", "private, MB"))
    return rounds, megabytes


def main() -> None:
    """Measure, print, draw and write."""
    arguments = parser(__doc__, "soak")
    arguments.add_argument("--rounds", type=int, default=2000)
    settings = arguments.parse_args()
    declare("local")
    import ray

    ray.init(address="local", num_cpus=SLOTS + 1, include_dashboard=False, configure_logging=False)
    samples = run(settings.rounds, max(1, settings.rounds // 200))
    ray.shutdown()
    names = dict.fromkeys(row["process"] for row in samples if row["round"] == samples[-1]["round"])
    slopes = {name: slope(*series(samples, name)) for name in names}
    rows = [
        {
            "process": name,
            "private at the end, MB": series(samples, name)[1][-1],
            "MB per 1,000 rounds": growth,
            "95 % interval, +-": half,
        }
        for name, (growth, half) in slopes.items()
    ]
    show(f"Private memory over {settings.rounds} rounds of {COHORT} of {FLEET} clients", rows, settings.out)
    draw(samples, slopes, settings.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
