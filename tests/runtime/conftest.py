"""One local Ray instance for all tests of the runtime, whose actors can import this folder's modules."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from support import free_port, listening

from fedra_ray.config.paths import filesystem

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Four CPUs, two GPUs and a label, as far as Ray knows: placement needs no real ones."""
    settings = {
        "num_cpus": 4,
        "num_gpus": 2,
        "labels": {"tier": "large"},
        "include_dashboard": False,
        "logging_level": "ERROR",
    }
    with pytest.MonkeyPatch.context() as patch:
        # not as a runtime_env, which the processes that Ray has ready do not have
        patch.setenv("PYTHONPATH", f"{HERE}:{HERE.parents[0]}:{HERE.parents[1]}")
        ray.init(address="local", **settings)
    yield
    ray.shutdown()


@pytest.fixture
def bucket() -> Iterator[tuple[str, str]]:
    """A bucket on a real S3 server on the loopback address: its URI, and the query that belongs to every URI in it."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while not listening(port):
                assert server.poll() is None
                time.sleep(0.1)
            query = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            system, path = filesystem("out", f"s3://key:secret@lab?{query}&allow_bucket_creation=true")
            system.create_dir(path)
            yield "s3://key:secret@lab", query
        finally:
            server.terminate()
