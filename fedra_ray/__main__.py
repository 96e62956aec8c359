"""`python -m fedra_ray` and the console script `fedra-ray`."""

import sys

from fedra_ray.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
