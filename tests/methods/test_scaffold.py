"""SCAFFOLD against algorithm 1 of its paper, written out for plain SGD."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedra_ray.client.training import train_client
from fedra_ray.config.schema import BackboneConfig, TrainingConfig
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.state import ServerState
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Problem
from fedra_ray.methods.scaffold import CONTROL, Scaffold
from fedra_ray.model.submodel import SubModel
from fedra_ray.testing.examples import Given

LR, STEPS, CLIENTS = 0.5, 3, 5
METHOD = Scaffold(FedRA(Problem(4, (2,), num_clients=CLIENTS)))
TASK = ClientTask(1, 0, (1, 3), ("head",))
CONFIG = TrainingConfig(
    lr=LR,
    head_lr=LR,
    momentum=0.0,
    weight_decay=0.0,
    batch_size=100,
    local_epochs=STEPS,
    max_steps=None,
    clip_norm=None,
)


@pytest.fixture
def model(vit_config: BackboneConfig, make_model: Callable[..., SubModel]) -> SubModel:
    return make_model(vit_config)


@pytest.fixture
def values(model: SubModel, random_values: Callable[..., np.ndarray]) -> np.ndarray:
    return random_values(model.layout)


def control(model: SubModel, seed: int) -> np.ndarray:
    return (0.01 * np.random.default_rng(seed).standard_normal(model.layout.size)).astype(np.float32)


def test_steps_are_corrected_and_the_client_s_variate_follows_option_ii(
    model: SubModel, values: np.ndarray, images: torch.Tensor, labels: torch.Tensor
) -> None:
    server, own = control(model, 1), control(model, 2)
    held = model.layout.held(TASK.layers, TASK.sent)
    model.load(values, held)
    correction = model.split(server - own)
    for _ in range(STEPS):
        for gradient in model.gradients:
            gradient.zero_()
        functional.cross_entropy(model.logits(images, TASK.layers), labels).backward()
        with torch.no_grad():
            for parameter, gradient, change in zip(model.held, model.gradients, correction, strict=True):
                parameter.sub_(LR * (gradient + change))
    expected = model.pack(held)
    x, c, c_i = (model.layout.pack(vector, held) for vector in (values, server, own))
    new = c_i - c + (x - expected) / (STEPS * LR)  # option II

    sent = ServerState(values, {CONTROL: server})
    update = train_client(model, METHOD, Given(images, labels), sent, {CONTROL: own}, TASK, CONFIG, 0)
    np.testing.assert_allclose(update.values, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(update.extra[CONTROL], new - c_i, rtol=1e-3, atol=1e-6)  # (x - y) / (K lr) cancels
    np.testing.assert_allclose(model.layout.pack(update.kept[CONTROL], held), new, rtol=1e-3, atol=1e-6)
    others = [index for index in range(5) if index not in held]
    assert model.layout.pack(update.kept[CONTROL], others).tobytes() == model.layout.pack(own, others).tobytes()
    assert update.traffic == Traffic(2 * expected.nbytes, 2 * expected.nbytes)


def test_a_client_begins_with_a_variate_of_zero(
    model: SubModel, values: np.ndarray, images: torch.Tensor, labels: torch.Tensor
) -> None:
    sent = ServerState(values, {CONTROL: control(model, 1)})
    zero = {CONTROL: np.zeros(model.layout.size, np.float32)}
    first, second = (
        train_client(model, METHOD, Given(images, labels), sent, kept, TASK, CONFIG, 0) for kept in ({}, zero)
    )
    assert first.values.tobytes() == second.values.tobytes()
    assert first.kept[CONTROL].tobytes() == second.kept[CONTROL].tobytes()


def update(model: SubModel, client: int, layers: tuple[int, ...], change: float) -> ClientUpdate:
    task = ClientTask(1, client, layers, ("head",))
    length = model.layout.packed_size(model.layout.held(layers, ("head",)))
    extra = {CONTROL: np.full(length, change, np.float32)}
    return ClientUpdate(task, Traffic(0, 0), 1, 1, 0.0, 0.0, values=np.ones(length, np.float32), extra=extra)


def test_the_server_adds_the_changes_divided_by_the_number_of_all_clients(model: SubModel) -> None:
    state = METHOD.init_state(model.layout, 0)
    assert not state.arrays[CONTROL].any()
    state = replace(state, arrays={CONTROL: np.ones(model.layout.size, np.float32), "other": np.ones(1)})
    total = METHOD.reduction(model.layout)
    assert isinstance(total, MaskedSums)
    for client, layers, change in ((0, (0, 1), 2.0), (3, (1,), 0.5)):
        total.add(update(model, client, layers, change))
    merged = METHOD.merge(state, total)
    per_segment = [merged.arrays[CONTROL][segment] for segment in model.layout.segments]
    for found, expected in zip(per_segment, [1 + 2 / 5, 1 + 2.5 / 5, 1, 1, 1 + 2.5 / 5], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert merged.arrays["other"] is state.arrays["other"]
    assert (merged.values[model.layout.segments[1]] == 1).all()
    assert METHOD.broadcast(merged)[CONTROL] is merged.arrays[CONTROL]
