"""A real autoscaler, whose provider starts nodes as processes of this machine."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import LocalCluster
from support import running

from analysis.runs.in_process import run_here

SETTINGS = ["rounds=14", "training.batch_size=4", "training.max_steps=1"]
CONFIG = {
    "cluster_name": "local",
    "max_workers": 2,
    "idle_timeout_minutes": 0.05,
    "provider": {"type": "fake_multinode", "disable_node_updaters": True, "use_node_id_as_ip": True},
    "auth": {"ssh_user": "nobody"},
    "head_node_type": "ray.head.default",
    "available_node_types": {
        # this provider's autoscaler would take the head, whose CPU the server has, for idle
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    **{name: {} for name in ("docker", "file_mounts")},
    **{name: [] for name in ("cluster_synced_files", "file_mounts_sync_continuously", "rsync_exclude")},
    **{name: [] for name in ("rsync_filter", "initialization_commands", "setup_commands", "head_setup_commands")},
    **{name: [] for name in ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    monkeypatch.setenv("RAY_FAKE_CLUSTER", "1")
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    found = LocalCluster(tmp_path, CONFIG)
    try:
        yield found
    finally:
        found.stop()


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.heavy
def test_nodes_come_for_the_demand_and_go_when_it_has_gone_with_the_same_bits(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    assert cluster.alive() == 1
    settings = [*SETTINGS, f"runtime.address={cluster.address}", "runtime.max_actors=2", f"run_dir={tmp_path / 'run'}"]
    seen = {1}
    with running([sys.executable, "-m", "fedra_ray", *settings], env=cluster.environment) as process:
        while process.poll() is None:
            seen.add(cluster.alive())
            time.sleep(0.2)
    assert process.returncode == 0
    assert max(seen) == 3
    run_here([*SETTINGS, f"run_dir={tmp_path / 'private'}"])
    assert adapter(tmp_path / "run") == adapter(tmp_path / "private")
    while cluster.alive() > 1:
        time.sleep(0.5)
