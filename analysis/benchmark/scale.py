"""How a round's cost grows with the fleet and with the cohort, of clients that send 614,400 bytes back.

    python -m analysis.benchmark.scale

Fleets of 100 to 100,000 clients with a cohort of 100, and a cohort of 10,000.
"""

import time
from typing import Any

from analysis.benchmark.processes import memory_mb, peak_memory
from analysis.benchmark.report import parser, show
from fedra_ray.runtime.environment import declare


def main() -> None:
    """Measure, print and write."""
    settings = parser(__doc__, "scale").parse_args()
    declare("local")
    import ray

    from analysis.benchmark.echo import echo

    ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False)
    echo(100, 1)  # the first run of an instance starts more processes than the later ones
    cells = [(fleet, 100, 50) for fleet in (100, 1_000, 10_000, 100_000)] + [(10_000, 10_000, 1)]
    rows: list[dict[str, Any]] = []
    for fleet, cohort, rounds in cells:
        before = memory_mb()
        start = time.perf_counter()
        with peak_memory() as peak:
            measured = echo(cohort, rounds, fleet)
        whole = time.perf_counter() - start
        rows.append(
            {
                "fleet": fleet,
                "cohort": cohort,
                "round, s": measured.seconds,
                "CPU s": measured.cpu_seconds,
                "whole run, s": whole,
                "extra memory at its peak, MB": peak.megabytes - before,
            }
        )
    ray.shutdown()
    show("Fleet and cohort", rows, settings.out)


if __name__ == "__main__":
    main()
