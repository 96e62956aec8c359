"""Compare every method with a slow, direct float64 reading of its formula on small random rounds.

    python -m analysis.conformance [--problems 50] [--seed 0]

Prints method x property x largest difference, and ends with 1 if one exceeds what rounding to float32 explains.
"""

import argparse
import sys

import numpy as np
import pandas as pd

from analysis.conformance.cases import CASES, Case


def measure(case: Case, problems: int, seed: int) -> float:
    """The largest difference of a case over so many random problems."""
    rng = np.random.default_rng(seed)
    return max(case.difference(rng) for _ in range(problems))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=50, help="random rounds per property (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for case in CASES:
        difference = measure(case, arguments.problems, arguments.seed)
        held = "yes" if difference <= case.tolerance else "NO"
        rows.append([case.method, case.promise, f"{difference:.1e}", f"{case.tolerance:.0e}", held])
    print(pd.DataFrame(rows, columns=["method", "promise", "difference", "tolerance", "held"]).to_markdown(index=False))
    sys.exit(any(row[-1] == "NO" for row in rows))


if __name__ == "__main__":
    main()
