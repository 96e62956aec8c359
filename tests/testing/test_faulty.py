from pathlib import Path

import numpy as np
import pytest
import torch

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.methods.fedra import FedRA
from fedra_ray.model.submodel import SubModel
from fedra_ray.testing.faulty import Faulty


@pytest.fixture
def model(vit_config: BackboneConfig, make_model: object, random_values: object) -> SubModel:
    model = make_model(vit_config)  # type: ignore[operator]
    model.load(random_values(model.layout), range(len(model.layout.entries)))  # type: ignore[operator]
    return model.eval()


def test_only_clients_of_one_depth_meet_the_fault(model: SubModel, images: torch.Tensor, labels: torch.Tensor) -> None:
    method = Faulty(4, [4, 2], how="raise", depth=2)
    with pytest.raises(ValueError, match="never works"):
        method.loss(model, images, labels, (1, 3), 0.5)
    sound = FedRA(4, [4, 2]).loss(model, images, labels, (0, 1, 2, 3), 0.5)
    assert torch.equal(method.loss(model, images, labels, (0, 1, 2, 3), 0.5), sound)


def test_with_a_marker_the_fault_happens_once(
    model: SubModel, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    marker = tmp_path / "met"
    method = Faulty(4, [4, 2], how="raise", depth=2, marker=str(marker))
    with pytest.raises(ValueError, match="never works"):
        method.loss(model, images, labels, (1, 3), 0.5)
    assert marker.exists()
    assert torch.isfinite(method.loss(model, images, labels, (1, 3), 0.5))


def test_it_allocates_as_fedra_does() -> None:
    drawn = Faulty(4, [4, 2], how="none").allocate([4, 2], np.random.default_rng(3))
    assert drawn.tolist() == FedRA(4, [4, 2]).allocate([4, 2], np.random.default_rng(3)).tolist()


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(SettingError, match="must be one of raise, kill") as refusal:
        Faulty(4, [4], how="rise")
    assert refusal.value.args[:2] == ("method.options.how", "rise")
