"""A round of FedProx against SGD on the whole objective, proximal term included, by autograd."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedra_ray.client.training import train_client
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, TrainingConfig
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.fedprox import FedProx
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Method, Problem
from fedra_ray.model.submodel import SubModel
from fedra_ray.testing.examples import Given

PLAIN = FedRA(Problem(4, (2,)))
TASK = ClientTask(1, 0, (1, 3), ("head",))
CONFIG = TrainingConfig(
    lr=0.5, head_lr=0.5, momentum=0.0, weight_decay=0.0, batch_size=100, local_epochs=3, max_steps=None, clip_norm=None
)


@pytest.fixture
def model(vit_config: BackboneConfig, make_model: Callable[..., SubModel]) -> SubModel:
    return make_model(vit_config)


@pytest.fixture
def values(model: SubModel, random_values: Callable[..., np.ndarray]) -> np.ndarray:
    return random_values(model.layout)


def trained(
    method: Method, model: SubModel, values: np.ndarray, images: torch.Tensor, labels: torch.Tensor
) -> ClientUpdate:
    return train_client(model, method, Given(images, labels), ServerState(values), {}, TASK, CONFIG, 0)


def test_local_steps_descend_the_loss_plus_the_proximal_term(
    model: SubModel, values: np.ndarray, images: torch.Tensor, labels: torch.Tensor
) -> None:
    mu, held = 0.7, model.layout.held(TASK.layers, TASK.sent)
    model.load(values, held)
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in own]
    for _ in range(3):
        loss = functional.cross_entropy(model.logits(images, TASK.layers), labels)
        distance = sum(((now - before) ** 2).sum() for now, before in zip(own, start, strict=True))
        gradients = torch.autograd.grad(loss + mu / 2 * distance, own)
        with torch.no_grad():
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.sub_(0.5 * gradient)
    expected = model.pack(held)
    update = trained(FedProx(PLAIN, mu), model, values, images, labels)
    np.testing.assert_allclose(update.values, expected, rtol=1e-4, atol=1e-6)  # autograd adds in another order
    plain = trained(PLAIN, model, values, images, labels)
    start_values = model.layout.pack(values, held)
    assert np.linalg.norm(update.values - start_values) < np.linalg.norm(plain.values - start_values)


def test_without_weight_it_is_the_wrapped_method(
    model: SubModel, values: np.ndarray, images: torch.Tensor, labels: torch.Tensor
) -> None:
    ours, plain = (trained(method, model, values, images, labels) for method in (FedProx(PLAIN, 0.0), PLAIN))
    assert ours.values.tobytes() == plain.values.tobytes()
    assert not ours.extra
    assert not ours.kept


@pytest.mark.parametrize("mu", [-0.1, float("nan")])
def test_a_negative_weight_is_refused(mu: float) -> None:
    with pytest.raises(SettingError, match="must be at least 0") as refusal:
        FedProx(PLAIN, mu)
    assert refusal.value.args[0] == "client_optimizer.options.mu"
