"""The faults that need a cluster or a Ray of their own, on the miniature world; the others are in tests/runtime."""

import subprocess
import sys
from pathlib import Path

import pytest

#: Updates so large that they stay in the store of the node that made them.
LARGE = ["lora.rank=512", "rounds=3"]


FAULTS = ["result lost with its node", "client killed for memory", "node lost", "all nodes lost, one new"]


@pytest.mark.heavy
def test_runs_that_lose_memory_results_or_nodes_end_with_the_same_bits(miniature: list[str]) -> None:
    command = [sys.executable, "-m", "analysis.chaos", "--only", *FAULTS, "--layers", "2", "--set", *miniature, *LARGE]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    for fault in FAULTS:
        assert any(line.startswith(f"{fault}: ") and "identical bits: True" in line for line in lines)
