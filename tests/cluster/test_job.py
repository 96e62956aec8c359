"""A user's day on a cluster: submit, watch, lose a node, stop, and go on."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nodes import RAY, LocalCluster
from support import running

from analysis.runs.in_process import run_here
from fedra_ray.runtime import metrics

SETTINGS = ["rounds=14", "training.batch_size=4", "training.max_steps=1", "fleet.dropout=0.2"]
SETTINGS += ["checkpoint.every=2", "evaluation.every=5"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    found = LocalCluster(tmp_path_factory.mktemp("cluster"))
    try:
        for _ in range(2):
            found.add_node()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of the same run on a private machine."""
    folder = tmp_path_factory.mktemp("private") / "run"
    run_here([*SETTINGS, f"run_dir={folder}"])
    return adapter(folder)


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def submit(cluster: LocalCluster, folder: Path, *options: str) -> list[str]:
    own = [f"--address={cluster.dashboard}", *options]
    return [sys.executable, "-m", "fedra_ray", "submit", *own, "--", *SETTINGS, f"run_dir={folder / 'run'}"]


def test_a_job_that_loses_a_node_ends_with_the_bits_of_a_private_run(
    cluster: LocalCluster, expected: bytes, tmp_path: Path
) -> None:
    command = submit(cluster, tmp_path, "--wait", "--id=first", f"--copy={tmp_path / 'copies'}")
    lines, samples = list[str](), dict[str, float]()
    with running(command, env=cluster.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("round "):
                samples |= cluster.samples()
            if line.startswith("round  3/14"):
                cluster.kill(cluster.processes[-1])
    assert process.returncode == 0, "\n".join(lines)
    rounds = [line for line in lines if line.startswith("round ")]
    assert [line[:11] for line in rounds] == [f"round {number:2}/14" for number in range(1, 15)]
    assert not any(re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line) for line in lines)  # Ray's own lines have tabs
    assert adapter(tmp_path / "run") == expected
    copied = json.loads((tmp_path / "copies" / "first" / "run" / "summary.json").read_text())
    assert copied["rounds"] == 14
    told = {re.match(r"\w+", name)[0] for name in samples}
    told.add("ray_fedra_retries_total")  # there only if the node was lost in training, not in evaluation
    assert told == {f"ray_{name}" for name in metrics.GAUGES} | {f"ray_{name}_total" for name in metrics.COUNTERS}
    assert all(f'run="{tmp_path / "run"}"' in name for name in samples)
    assert {re.search(r'domain="(\w+)"', name)[1] for name in samples if "accuracy" in name} == set(copied["accuracy"])


@pytest.mark.heavy
def test_a_running_job_is_stopped_and_goes_on_when_it_is_submitted_again(
    cluster: LocalCluster, expected: bytes, tmp_path: Path
) -> None:
    subprocess.run(submit(cluster, tmp_path, "--id=stopped"), env=cluster.environment, check=True, capture_output=True)
    while not list(tmp_path.glob("run/checkpoints/round_00000*")):
        time.sleep(0.05)
    stop = [RAY, "job", "stop", f"--address={cluster.dashboard}", "stopped"]
    subprocess.run(stop, env=cluster.environment, check=True, capture_output=True)
    assert not (tmp_path / "run" / "summary.json").exists()
    logs = [RAY, "job", "logs", f"--address={cluster.dashboard}", "stopped"]
    assert "saved after round" in subprocess.run(logs, env=cluster.environment, capture_output=True, text=True).stdout
    subprocess.run(submit(cluster, tmp_path, "--wait"), env=cluster.environment, cwd=tmp_path, check=True)
    assert adapter(tmp_path / "run") == expected
    assert pq.read_table(tmp_path / "run" / "rounds.parquet")["round"].to_pylist() == list(range(1, 15))


def test_a_job_that_fails_or_cannot_work_is_told_at_once_and_by_its_exit_code(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    def refused(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [*submit(cluster, tmp_path, "--wait"), *overrides]
        return subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=False)

    relative = refused("run_dir=runs/first")
    assert relative.returncode == 2
    assert "run_dir=runs/first: must be an absolute path that all nodes share, or a URI" in relative.stderr
    assert refused("rounds=0").returncode == 2
    failed = refused("backbone.checkpoint=/nowhere.safetensors")
    assert failed.returncode == 1
    assert "has failed, exit code 2" in failed.stderr
    assert "error: backbone.checkpoint=/nowhere.safetensors" in failed.stdout
