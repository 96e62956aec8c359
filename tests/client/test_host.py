"""Sites on a GPU; on CPUs, tests of experiments and of replays go through them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedra_ray.client.host import ClientHost
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.state import ServerState
from fedra_ray.preflight import check_experiment

TASK = ClientTask(1, 0, (0, 2), ("head",), max_steps=2)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(params=["fp32", "bf16"])
def make_host(request: pytest.FixtureRequest, config: ExperimentConfig) -> Callable[[str], ClientHost]:
    config.training = replace(config.training, precision=request.param)
    return lambda device: ClientHost(*check_experiment(config), device)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_two_sites_train_and_score_the_same_bits(device: str, make_host: Callable[[str], ClientHost]) -> None:
    first, second = make_host(device), make_host(device)
    start = first.blueprint.layout.initial(0)
    ours, theirs = first.train_one(TASK, ServerState(start)), second.train_one(TASK, ServerState(start))
    assert ours.values.tobytes() == theirs.values.tobytes()
    assert np.isfinite(ours.loss)
    assert first.evaluate(start)() == second.evaluate(start)()


@needs_cuda
def test_a_gpu_trains_as_a_cpu_does_up_to_rounding(make_host: Callable[[str], ClientHost]) -> None:
    on_gpu, on_cpu = make_host("cuda"), make_host("cpu")
    start = ServerState(on_cpu.blueprint.layout.initial(0))
    precision = 1e-4 if on_cpu.blueprint.config.training.precision == "fp32" else 5e-2
    ours, theirs = on_gpu.train_one(TASK, start).values, on_cpu.train_one(TASK, start).values
    assert np.linalg.norm(ours - theirs) <= precision * np.linalg.norm(theirs)
