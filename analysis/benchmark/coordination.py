"""What a round costs besides training, against Flower's simulation engine: clients that send 614,400 bytes back.

    python -m analysis.benchmark.coordination

The two take turns on two CPUs. Flower runs in an environment of its own (`make flower`); without it, its columns are
empty. CPU time is that of all processes, Ray's own included.
"""

import statistics
from typing import Any

from analysis.benchmark.flower import measure
from analysis.benchmark.report import parser, show
from fedra_ray.runtime.environment import declare


def row(clients: int, ours: list[Any], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the table: medians over the repeats."""
    seconds = statistics.median(echo.seconds for echo in ours)
    flower = statistics.median(measured["seconds"] for measured in theirs) if theirs else None
    memory_mib = statistics.median(measured["memory_mib"] for measured in theirs) if theirs else None
    return {
        "clients": clients,
        "fedra-ray, s": seconds,
        "CPU s": statistics.median(echo.cpu_seconds for echo in ours),
        "memory, MB": statistics.median(echo.memory_mb for echo in ours),
        "Flower, s": flower,
        "Flower, CPU s": statistics.median(measured["cpu_seconds"] for measured in theirs) if theirs else None,
        "Flower, memory, MB": memory_mib * 1.048576 if memory_mib is not None else None,
        "times as fast": flower / seconds if flower else None,
    }


def main() -> None:
    """Measure, print and write."""
    arguments = parser(__doc__, "coordination")
    arguments.set_defaults(repeats=3)
    arguments.add_argument("--clients", type=int, nargs="+", default=[6, 32, 128, 1024])
    settings = arguments.parse_args()
    declare("local")
    import ray

    from analysis.benchmark.echo import echo

    rows = []
    for clients in settings.clients:
        ours, theirs = [], []
        for _ in range(settings.repeats if clients < 1000 else 1):
            ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False)
            ours.append(echo(clients, 50 if clients < 1000 else 10))
            ray.shutdown()
            measured = measure(clients, 10 if clients < 1000 else 3)
            theirs += [measured] if measured else []
        rows.append(row(clients, ours, theirs))
    show("A round without training", rows, settings.out)


if __name__ == "__main__":
    main()
