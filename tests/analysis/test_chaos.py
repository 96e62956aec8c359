"""The faults that need a cluster or a Ray of their own, on the miniature world; the others are in tests/runtime."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import VIT


def settings(world: Path) -> list[str]:
    """The miniature world, with updates so large that they stay in the store of the node that made them."""
    return [
        "dataset=parquet",
        f"dataset.root={world / 'shapes.parquet'}",
        *(f"++backbone.model_args.{name}={value}" for name, value in VIT.items()),
        f"backbone.checkpoint={world / 'vit.safetensors'}",
        "lora.rank=512",
        "fleet.depths=[4,2,1]",
        "fleet.num_clients=3",
        "rounds=3",
    ]


@pytest.mark.parametrize(
    "faults",
    [
        ["result lost with its node"],
        pytest.param(["client killed for memory", "node lost", "all nodes lost, one new"], marks=pytest.mark.heavy),
    ],
)
def test_runs_that_lose_memory_results_or_nodes_end_with_the_same_bits(faults: list[str], world: Path) -> None:
    command = [sys.executable, "-m", "analysis.chaos", "--only", *faults, "--layers", "2", "--set", *settings(world)]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    for fault in faults:
        assert any(line.startswith(f"{fault}: ") and "identical bits: True" in line for line in lines)
