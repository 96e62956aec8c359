"""`fedra-ray prepare` as a person runs it: a process of its own, killed and started again, and on an S3 server."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import running

from fedra_ray.cli.main import main
from fedra_ray.config.paths import filesystem
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.data.prepare.manifest import read_manifest

pytestmark = pytest.mark.usefixtures("local_ray")

HERE = Path(__file__).parent
FEW = ["shard_images=2"]


def settings(world: Path, out: str, *overrides: str) -> list[str]:
    root = f"dataset.root={world / 'shapes.parquet'}"
    return ["prepare", "dataset=parquet", root, f"out='{out}'", "format=png", "image_size=16", *FEW, *overrides]


def test_a_killed_preparation_is_resumed_without_losing_or_redoing_a_shard(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    slow = settings(world, str(out), "dataset.target=slow.Slow", "address=local")
    command = [sys.executable, "-m", "fedra_ray", *slow]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with running(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while len(list(out.glob("*.parquet.json"))) < 5:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    done = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet") if Path(f"{path}.json").exists()}
    assert 5 <= len(done) < 54
    resumed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "of 54 shards are already there" in resumed.stdout
    shards = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert done.items() <= shards.items()
    assert len(shards) == 54
    assert not list(out.glob("*.part"))
    whole = tmp_path / "whole"
    assert main(settings(world, str(whole))) == 0
    for path in whole.glob("*.parquet"):
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_an_unreadable_image_ends_the_command_with_its_place(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(world / "shapes.parquet")
    images = table["image"].to_pylist()
    images[7] = images[7][:40]
    pq.write_table(table.set_column(0, "image", [images]), tmp_path / "shapes.parquet")
    arguments = settings(tmp_path, str(tmp_path / "shards"))
    assert main(arguments) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "shapes.parquet, row 7" in line
    assert main([*arguments, "dataset.on_error=skip"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "parquet: 3 domains, 3 classes, 72 train, 18 validation, 18 test images"
    assert lines[-1].startswith("107 images in 54 shards, 1 left out")


def test_shards_go_to_an_object_store_and_are_read_from_there(
    bucket: tuple[str, str], world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = f"{bucket[0]}/sets/shapes?{bucket[1]}"
    arguments = settings(world, uri, "shard_images=20")
    assert main(arguments) == 0
    assert read_manifest(*filesystem("out", uri))["images"] == 108
    remote, local = ParquetDataset(uri, 16), ParquetDataset(str(world / "shapes.parquet"), 16)
    everything = np.arange(24)
    found, expected = (each.images("light", "train", everything) for each in (remote, local))
    assert found.tobytes() == expected.tobytes()
    assert main(arguments) == 0
    assert "already prepared" in capfd.readouterr().out


def test_tasks_for_which_no_node_has_a_cpu_are_not_waited_for_for_ever(world: Path, tmp_path: Path) -> None:
    script = (
        "import sys, ray; from fedra_ray.cli.main import main; "
        "ray.init(address='local', num_cpus=0, include_dashboard=False); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *settings(world, str(tmp_path / "shards"), "wait_s=3")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "s for the start of tasks with 1 CPU each, which write the shards; Ray has 0 CPUs" in ended.stderr
    assert "wait_s=3 allows no more" in ended.stderr
