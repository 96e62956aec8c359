"""Every layer is trained, those beyond a client's depth from a part of each batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import InProcess, finish, restarted
from torch.nn import functional

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig, LoraConfig, MethodConfig
from fedra_ray.federation.messages import ClientTask
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Problem
from fedra_ray.methods.partial import Partial
from fedra_ray.model.submodel import Batch, SubModel

PROBLEM = Problem(4, (3,))
EVERYTHING = (0, 1, 2, 3)


@pytest.fixture
def model(backbone_config: BackboneConfig, make_model: Callable[..., SubModel], random_values: Callable) -> SubModel:
    made = make_model(backbone_config, lora=LoraConfig(rank=2, dropout=0.0))
    made.load(random_values(made.layout), made.layout.held(EVERYTHING, ("head",)))
    made.train()
    return made


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(10, 3, 16, 16, generator=generator), torch.arange(10) % 3)


def gradients(model: SubModel, loss: torch.Tensor) -> list[torch.Tensor]:
    for gradient in model.gradients:
        gradient.zero_()
    loss.backward()
    return [gradient.clone() for gradient in model.gradients]


def loss(model: SubModel, method: Partial, batch: Batch, depth: int) -> torch.Tensor:
    task = ClientTask(1, 0, EVERYTHING, ("head",), depth=depth)
    return method.loss(model, batch, LocalRound(task, model.layout, np.zeros(0, dtype=np.float32)))


@pytest.mark.parametrize(("unbiased", "counts"), [(True, 1.0), (False, 0.3)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_late_layers_learn_from_all_images_and_early_ones_from_the_first(
    depth: int, unbiased: bool, counts: float, model: SubModel, batch: Batch
) -> None:
    def plain(part: slice) -> torch.Tensor:
        return functional.cross_entropy(model.logits(batch.inputs[part], EVERYTHING), batch.labels[part])

    own = loss(model, Partial(PROBLEM, share=0.25, unbiased=unbiased), batch, depth)
    assert own.item() == pytest.approx(plain(slice(None)).item(), rel=1e-5)
    found, whole = gradients(model, own), gradients(model, plain(slice(None)))
    first = gradients(model, plain(slice(0, 3)))  # ceil(0.25 * 10)
    early = 4 - depth + 1
    for segment in range(5):
        expected = counts * first[segment] if segment < early else whole[segment]
        torch.testing.assert_close(found[segment], expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(first[0], whole[0], rtol=1e-2)


@pytest.mark.parametrize(("share", "depth"), [(1.0, 2), (0.25, 4), (0.25, 7), (0.95, 2)])
def test_with_all_images_or_all_blocks_it_is_all_large(share: float, depth: int, model: SubModel, batch: Batch) -> None:
    found = gradients(model, loss(model, Partial(PROBLEM, share=share), batch, depth))
    whole = functional.cross_entropy(model.logits(batch.inputs, EVERYTHING), batch.labels)
    for one, other in zip(found, gradients(model, whole), strict=True):
        torch.testing.assert_close(one, other)


def test_a_client_that_holds_all_blocks_or_uses_all_images_has_no_partial_layers() -> None:
    method = Partial(PROBLEM)
    assert [method.partial(EVERYTHING, depth) for depth in (1, 2, 3, 4, 5)] == [4, 3, 2, 0, 0]
    assert Partial(PROBLEM, share=1).partial(EVERYTHING, 2) == 0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_that_cannot_work_is_refused(share: float) -> None:
    with pytest.raises(SettingError, match="greater than 0 and at most 1"):
        Partial(PROBLEM, share=share)


def test_tasks_say_how_deep_a_client_is_and_a_resumed_run_ends_in_the_same_bits(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.method = MethodConfig("partial", "fedra_ray.methods.partial.Partial", options={"share": 0.5})
    workers = InProcess(config)
    whole = finish(workers, tmp_path / "whole")
    for update in workers.updates:
        depth = config.fleet.depths[update.task.client]
        assert update.task.layers == EVERYTHING
        assert update.task.depth == depth
    assert restarted(config, tmp_path / "parts", failing=5).values.tobytes() == whole.values.tobytes()
