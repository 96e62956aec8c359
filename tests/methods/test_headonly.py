from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from support import local_round

from fedra_ray.client.training import train_client
from fedra_ray.config.schema import BackboneConfig, TrainingConfig
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.headonly import HeadOnly
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import Batch, SubModel
from fedra_ray.testing.examples import Given

Values = Callable[..., np.ndarray]


def test_nobody_holds_a_layer() -> None:
    method = HeadOnly(Problem(4, (4, 1)))
    assert not method.allocate([4, 1], np.random.default_rng(0)).any()
    assert method.named(()) == ("head",)
    assert method.evaluated_layers == (0, 1, 2, 3)


def test_loss_is_that_of_the_whole_model(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Values,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(vit_config)
    values = random_values(model.layout)
    model.load(values, range(len(model.layout.entries)))
    scores = model.heads["head"](plain_features(model, images)).log_softmax(dim=1)
    expected = -scores[range(len(labels)), labels].mean()
    method = HeadOnly(Problem(4, (4,)))
    local = local_round(model.layout, values)
    local.task = replace(local.task, frozen=method.blocks(()))
    loss = method.loss(model, Batch(images, labels), local)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)  # the last block runs for one token or for all


def plain_features(model: SubModel, images: torch.Tensor) -> torch.Tensor:
    """Features after all blocks, run one by one."""
    inputs = model.embed(images)
    for block in model.blocks:
        inputs = inputs.after(block)
    return model.readout(inputs.tokens)


def test_training_moves_the_head_alone(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Values,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    model = make_model(vit_config)
    values = random_values(model.layout)
    task = ClientTask(1, 0, (), ("head",), frozen=(0, 1, 2, 3))
    update = train_client(
        model, HeadOnly(Problem(4, (4,))), Given(images, labels), ServerState(values), {}, task, TrainingConfig(), 0
    )
    head = model.layout.segments[4]
    assert update.values.shape == values[head].shape
    assert (update.values != values[head]).any()
    everything = range(len(model.layout.entries))
    assert model.pack(everything)[: head.start].tobytes() == values[: head.start].tobytes()
