"""A sweep on a cluster that grows while it goes on."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nodes import LocalCluster
from support import running

SETTINGS = ["training.max_steps=3", "evaluation.every=999", "checkpoint.every=50"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    found = LocalCluster(tmp_path)
    try:
        found.add_node()
        yield found
    finally:
        found.stop()


@pytest.mark.heavy
def test_runs_begin_and_get_more_actors_as_nodes_come(cluster: LocalCluster, tmp_path: Path) -> None:
    swept = ["rounds=15,50", f"run_dir={tmp_path / 'sweep'}", f"runtime.address={cluster.address}"]
    command = [sys.executable, "-m", "fedra_ray", "sweep", *SETTINGS, *swept]
    lines: list[str] = []
    with running(command, env=cluster.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("rounds=15  round 3/"):
                cluster.add_node()
                cluster.add_node()
    assert process.returncode == 0, "".join(lines)
    first = [line.split("  ")[1].split(",")[0] for line in lines if line.startswith("rounds=")]
    assert first.count("started") == 2
    began = next(place for place, line in enumerate(lines) if line.startswith("rounds=50  started"))
    assert began < next(place for place, line in enumerate(lines) if line.startswith("rounds=15  finished"))
    clients = pq.read_table(tmp_path / "sweep" / "rounds=50" / "clients.parquet").to_pandas()
    slots = clients.groupby("round")["slot"].nunique()
    assert slots.max() >= 2
