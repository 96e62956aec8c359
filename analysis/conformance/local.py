"""Local training on a tiny model and random images, for promises about what clients do."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import nn

from fedra_ray.client.training import train_client
from fedra_ray.config.schema import BackboneConfig, LoraConfig, TrainingConfig
from fedra_ray.federation.factors import Factors, split
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method
from fedra_ray.model.backbone import build
from fedra_ray.model.submodel import SubModel
from fedra_ray.testing.examples import Given

LAYERS = 3
WIDTH = 24
BACKBONE = BackboneConfig(
    model_args={"img_size": 32, "patch_size": 16, "embed_dim": WIDTH, "num_heads": 2, "depth": LAYERS}
)
TRAINING = TrainingConfig(batch_size=8, local_epochs=2, weight_decay=0.1, max_steps=None)
HELD = (0, 2)  # the layers that the client trains


@cache
def model() -> SubModel:
    """The tiny model, the same in every case."""
    return _adapted({})


def _adapted(extras: Mapping[str, nn.Module]) -> SubModel:
    torch.manual_seed(0)
    return SubModel(build(BACKBONE), ("attn.proj", "mlp.fc2"), LoraConfig(rank=3), ("head",), 4, extras=extras)


def train(
    method: Method, rng: np.random.Generator, number: int = 1, held: Sequence[int] = HELD
) -> tuple[ServerState, ClientUpdate]:
    """A client's round of this number from random global values: these, and what the client sends.

    Extras, which lie behind all else, begin as the method has them begin.
    """
    extras = method.extra_modules(WIDTH)
    adapted = _adapted(extras) if extras else model()
    start = method.init_state(adapted.layout, 0)
    values = start.values.copy()
    values[: model().layout.size] = 0.3 * rng.standard_normal(model().layout.size)
    state = ServerState(values, start.arrays)
    task = ClientTask(number, 0, tuple(held), method.named(held))
    images = torch.tensor(rng.standard_normal((16, 3, 32, 32)), dtype=torch.float32)
    labels = torch.tensor(rng.integers(0, 4, 16))
    sent = ServerState(values, method.broadcast(state))
    return state, train_client(adapted, method, Given(images, labels), sent, {}, task, TRAINING, 0)


def factors(values: np.ndarray, layer: int) -> list[Factors]:
    """The factors of a layer's targets, of a full vector."""
    layout = model().layout
    return split(layout.layers[layer], values[layout.segments[layer]])


def after(state: ServerState, update: ClientUpdate) -> np.ndarray:
    """The full vector with what the client sent."""
    layout = model().layout
    return layout.unpack(update.values, layout.held(update.task.layers, update.task.sent), state.values)
