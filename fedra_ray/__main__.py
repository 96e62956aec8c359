"""`python -m fedra_ray` and the console script `fedra-ray`."""

import sys

from fedra_ray.cli.ending import leave
from fedra_ray.cli.main import main as carry_out


def main() -> int:
    """Carry out the command line of this process; returns the exit code."""
    return leave(carry_out())


if __name__ == "__main__":
    sys.exit(main())
