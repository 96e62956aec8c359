from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

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
    random_values: Values,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(vit_config)
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    expected = functional.cross_entropy(model.logits(images, range(4)), labels)
    assert torch.equal(HeadOnly(4, [4]).loss(model, images, labels, (), 1.0), expected)


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
