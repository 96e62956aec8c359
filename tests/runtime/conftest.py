"""One local Ray instance for all tests of the runtime, whose actors can import this folder's modules."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

os.environ["RAY_AUTH_MODE"] = "disabled"
HERE = str(Path(__file__).parent)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Four CPUs and two GPUs, as far as Ray knows: placement needs no real ones."""
    environment = {"env_vars": {"PYTHONPATH": HERE}}
    settings = {"num_cpus": 4, "num_gpus": 2, "include_dashboard": False, "logging_level": "ERROR"}
    ray.init(address="local", runtime_env=environment, **settings)
    yield
    ray.shutdown()
