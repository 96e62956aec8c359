"""A client actor on a node whose GPUs its PyTorch cannot use; what it computes is tested with the pool."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fedra_ray.runtime.slot import ClientSlot

MAIN = """
import sys
import ray
from fedra_ray.cli.main import main
ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("gpus", "usable", "said"), [([0], False, True), ([0], True, False), ([], False, False)])
def test_it_says_that_it_computes_on_the_cpu_only_if_it_reserves_a_gpu(
    gpus: list[int], usable: bool, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.get_gpu_ids", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    notice = object.__new__(ClientSlot).notice()
    assert (notice is not None) == said
    assert notice is None or notice.startswith("client actors compute on the CPU: torch ")


@pytest.mark.heavy
@pytest.mark.skipif(torch.cuda.is_available(), reason="this PyTorch can use GPUs")
def test_a_run_on_gpus_that_pytorch_cannot_use_says_so_and_keeps_it_with_the_results(
    miniature: list[str], tmp_path: Path
) -> None:
    settings = [*miniature, "rounds=2", "runtime.num_gpus=0.5", f"run_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-c", MAIN, *settings]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said = "client actors compute on the CPU: torch"
    assert ended.stdout.count(said) == 1
    assert said in (tmp_path / "run" / "summary.json").read_text()
