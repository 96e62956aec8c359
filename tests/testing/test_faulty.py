from pathlib import Path

import numpy as np
import pytest
import torch
from support import local_round

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import Batch, SubModel
from fedra_ray.testing.faulty import Faulty

PROBLEM = Problem(4, (4, 2))
NOTHING = np.zeros(0, np.float32)  # the loss does not look at where a round began


@pytest.fixture
def model(vit_config: BackboneConfig, make_model: object, random_values: object) -> SubModel:
    model = make_model(vit_config)  # type: ignore[operator]
    model.load(random_values(model.layout), range(len(model.layout.entries)))  # type: ignore[operator]
    return model.eval()


def test_only_clients_of_one_depth_meet_the_fault(model: SubModel, images: torch.Tensor, labels: torch.Tensor) -> None:
    method = Faulty(PROBLEM, how="raise", depth=2)
    with pytest.raises(ValueError, match="never works"):
        method.loss(model, Batch(images, labels), local_round(model.layout, NOTHING, (1, 3)))
    sound = FedRA(PROBLEM).loss(model, Batch(images, labels), local_round(model.layout, NOTHING, (0, 1, 2, 3)))
    assert torch.equal(
        method.loss(model, Batch(images, labels), local_round(model.layout, NOTHING, (0, 1, 2, 3))), sound
    )


def test_with_a_marker_the_fault_happens_once(
    model: SubModel, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    marker = tmp_path / "met"
    method = Faulty(PROBLEM, how="raise", depth=2, marker=str(marker))
    with pytest.raises(ValueError, match="never works"):
        method.loss(model, Batch(images, labels), local_round(model.layout, NOTHING, (1, 3)))
    assert marker.exists()
    assert torch.isfinite(method.loss(model, Batch(images, labels), local_round(model.layout, NOTHING, (1, 3))))


@pytest.mark.parametrize("draw", ["uniform", "balanced"])
def test_it_allocates_as_fedra_does(draw: str) -> None:
    drawn = Faulty(PROBLEM, how="none", draw=draw).allocate([4, 2], np.random.default_rng(3))
    assert drawn.tolist() == FedRA(PROBLEM, draw).allocate([4, 2], np.random.default_rng(3)).tolist()


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(SettingError, match="must be one of raise, kill") as refusal:
        Faulty(PROBLEM, how="rise")
    assert refusal.value.args[:2] == ("method.options.how", "rise")
