"""All benchmarks, one after another, on a machine that should have nothing else to do (about half an hour).

    python -m analysis.benchmark

Each can be run by itself: python -m analysis.benchmark.NAME --help.
"""

import subprocess
import sys

NAMES = (
    "steps",
    "texts",
    "rounds",
    "coordination",
    "start",
    "slots",
    "scale",
    "memory",
    "soak",
    "aggregation",
    "loading",
    "opening",
)


def main() -> None:
    """Run all benchmarks up to the first that fails."""
    for name in NAMES:
        subprocess.run([sys.executable, "-m", f"analysis.benchmark.{name}", *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
