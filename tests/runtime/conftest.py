"""An object store for the tests of the runtime."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from support import free_port, listening

from fedra_ray.config.paths import filesystem


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
