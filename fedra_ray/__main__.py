"""`python -m fedra_ray` and the console script `fedra-ray`."""

import os
import sys

from fedra_ray.cli.main import main as carry_out
from fedra_ray.runtime.interruption import deserted


def main() -> int:
    """Carry out the command line; returns the exit code, or ends the process with it if Ray would hold it up."""
    code = carry_out()
    if deserted.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
