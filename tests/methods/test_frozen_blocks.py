"""Sub-models that run all blocks and train some of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import InProcess, finish
from torch.nn import functional

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig, MethodConfig, WrapperConfig
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.messages import ClientTask
from fedra_ray.methods.allsmall import AllSmall
from fedra_ray.methods.create import create_method
from fedra_ray.methods.depthfl import DepthFL
from fedra_ray.methods.frozen_blocks import FrozenBlocks
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Problem
from fedra_ray.methods.suffix import Suffix
from fedra_ray.model.submodel import Batch, SubModel


def test_all_blocks_of_the_evaluated_model_are_run() -> None:
    assert FrozenBlocks(Suffix(Problem(4, (2,)))).blocks((2, 3)) == (0, 1, 2, 3)
    assert FrozenBlocks(AllSmall(Problem(4, (2, 3)))).blocks((0, 1)) == (0, 1)


def test_the_loss_is_that_of_the_whole_model_and_only_the_client_s_layers_get_gradients(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Callable[..., np.ndarray],
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model, method = make_model(vit_config), FrozenBlocks(Suffix(Problem(4, (2,))))
    values = random_values(model.layout)
    task = ClientTask(1, 0, (2, 3), ("head",), frozen=(0, 1))
    local = LocalRound(task, model.layout, values)
    model.load(values, local.trained)
    loss = method.loss(model, Batch(images, labels), local)
    whole = functional.cross_entropy(model.logits(images, range(4)), labels)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    loss.backward()
    assert all(gradient.abs().sum() > 0 for gradient in model.gradients)
    assert len(model.gradients) == 3


def test_a_method_of_several_heads_is_refused() -> None:
    with pytest.raises(SettingError, match="submodel"):
        FrozenBlocks(DepthFL(Problem(4, (2, 4))))


def test_recomputing_changes_what_a_run_costs_and_not_a_bit_of_its_result(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.method = MethodConfig("alllarge", "fedra_ray.methods.alllarge.AllLarge")
    plain = finish(InProcess(config), tmp_path / "plain")
    target = "fedra_ray.methods.frozen_blocks.FrozenBlocks"
    config.submodel = WrapperConfig("recomputed", target=target, options={"recomputed": True})
    recomputed = finish(InProcess(config), tmp_path / "recomputed")
    method = create_method(config, 4, Fleet(config, ("dark", "light", "noisy")))
    assert method.streams
    assert method.recomputes
    assert recomputed.values.tobytes() == plain.values.tobytes()


def test_a_run_trains_what_it_did_with_other_gradients(config: ExperimentConfig, tmp_path: Path) -> None:
    plain = InProcess(config)
    absent = finish(plain, tmp_path / "absent")
    config.submodel = WrapperConfig("frozen", target="fedra_ray.methods.frozen_blocks.FrozenBlocks")
    workers = InProcess(config)
    frozen = finish(workers, tmp_path / "frozen")
    assert {update.task.layers for update in workers.updates} == {update.task.layers for update in plain.updates}
    assert all(update.task.blocks == (0, 1, 2, 3) for update in workers.updates)
    assert frozen.values.tobytes() != absent.values.tobytes()
