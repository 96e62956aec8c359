from collections.abc import Callable

import numpy as np
import pytest
import torch

from fedra_ray.client.training import train_client
from fedra_ray.config.schema import BackboneConfig, TrainingConfig
from fedra_ray.federation.messages import ClientTask
from fedra_ray.methods.headonly import HeadOnly
from fedra_ray.model.submodel import SubModel
from fedra_ray.testing.examples import Given

Values = Callable[..., np.ndarray]


def test_nobody_holds_a_layer() -> None:
    method = HeadOnly(4, [4, 1])
    assert not method.allocate([4, 1], np.random.default_rng(0)).any()
    assert method.held_heads(()) == ("head",)
    assert method.evaluated_layers == (0, 1, 2, 3)


def test_loss_is_that_of_the_whole_model(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    plain_model: Callable[..., torch.nn.Module],
    random_values: Values,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(vit_config)
    values = np.zeros_like(random_values(model.layout))  # without LoRA it is timm's own model
    head = model.layout.segments[4]
    values[head] = random_values(model.layout)[head]
    model.load(values, range(len(model.layout.entries)))
    plain = plain_model(vit_config, range(4))
    weight, bias = torch.from_numpy(values[head]).split([48, 3])
    plain.head.weight.data, plain.head.bias.data = weight.view(3, 16), bias
    with torch.no_grad():
        scores = plain(images).double().softmax(dim=1)
    expected = -scores[torch.arange(len(labels)), labels].log().mean()
    loss = HeadOnly(4, [4]).loss(model.eval(), images, labels, (), 1.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_moves_the_head_alone(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Values,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(vit_config)
    values = random_values(model.layout)
    task = ClientTask(1, 0, (), ("head",), 1.0)
    update = train_client(model, HeadOnly(4, [4]), Given(images, labels), values, task, TrainingConfig(), 0)
    head = model.layout.segments[4]
    assert update.values.shape == values[head].shape
    assert (update.values != values[head]).any()
    everything = range(len(model.layout.entries))
    assert model.pack(everything)[: head.start].tobytes() == values[: head.start].tobytes()
