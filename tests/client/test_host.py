"""Sites on a GPU; on CPUs, tests of experiments and of replays go through them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedra_ray.client.host import Site
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.messages import ClientTask
from fedra_ray.preflight import draw_up

TASK = ClientTask(1, 0, (0, 2), ("head",), 0.5, max_steps=2)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(params=["fp32", "bf16"])
def make_site(request: pytest.FixtureRequest, config: ExperimentConfig) -> Callable[[str], Site]:
    config.training = replace(config.training, precision=request.param)
    return lambda device: Site(*draw_up(config), device)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_two_sites_train_and_score_the_same_bits(device: str, make_site: Callable[[str], Site]) -> None:
    first, second = make_site(device), make_site(device)
    start = first._blueprint.layout.initial(0)
    ours, theirs = first.train_one(TASK, start), second.train_one(TASK, start)
    assert ours.values.tobytes() == theirs.values.tobytes()
    assert np.isfinite(ours.loss)
    assert first.evaluate(start)() == second.evaluate(start)()


@needs_cuda
def test_a_gpu_trains_as_a_cpu_does_up_to_rounding(make_site: Callable[[str], Site]) -> None:
    on_gpu, on_cpu = make_site("cuda"), make_site("cpu")
    start = on_cpu._blueprint.layout.initial(0)
    precision = 1e-4 if on_cpu._config.training.precision == "fp32" else 5e-2
    ours, theirs = on_gpu.train_one(TASK, start).values, on_cpu.train_one(TASK, start).values
    assert np.linalg.norm(ours - theirs) <= precision * np.linalg.norm(theirs)
