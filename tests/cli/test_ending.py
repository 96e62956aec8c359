"""How a command leaves."""

import subprocess
import sys


def test_a_command_that_left_a_cluster_ends_at_once_with_its_code() -> None:
    program = """
import atexit, sys
from fedra_ray.cli import ending

atexit.register(print, "Ray's goodbye")
ending.deserted.set()
sys.exit(ending.leave(130))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (130, "")


def test_any_other_command_ends_as_usual() -> None:
    program = """
import atexit, sys
from fedra_ray.cli import ending

atexit.register(print, "goodbye")
sys.exit(ending.leave(2))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "goodbye\n")
