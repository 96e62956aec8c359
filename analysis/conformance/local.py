"""Local training on a tiny model and random images, for promises about what clients do."""

from functools import cache

import numpy as np
import torch

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
BACKBONE = BackboneConfig(
    model_args={"img_size": 32, "patch_size": 16, "embed_dim": 24, "num_heads": 2, "depth": LAYERS}
)
TRAINING = TrainingConfig(batch_size=8, local_epochs=2, weight_decay=0.1, max_steps=None)
HELD = (0, 2)  # the layers that the client trains


@cache
def model() -> SubModel:
    """The tiny model, the same in every case."""
    torch.manual_seed(0)
    return SubModel(build(BACKBONE), ("attn.proj", "mlp.fc2"), LoraConfig(rank=3), ("head",), 4)


def train(method: Method, rng: np.random.Generator, number: int = 1) -> tuple[ServerState, ClientUpdate]:
    """A client's round of this number from random global values: these, and what the client sends."""
    layout = model().layout
    values = (0.3 * rng.standard_normal(layout.size)).astype(np.float32)
    start = method.init_state(layout, 0)
    state = ServerState(values, start.arrays)
    task = ClientTask(number, 0, HELD, method.named(HELD))
    images = torch.tensor(rng.standard_normal((16, 3, 32, 32)), dtype=torch.float32)
    labels = torch.tensor(rng.integers(0, 4, 16))
    sent = ServerState(values, method.broadcast(state))
    return state, train_client(model(), method, Given(images, labels), sent, {}, task, TRAINING, 0)


def factors(values: np.ndarray, layer: int) -> list[Factors]:
    """The factors of a layer's targets, of a full vector."""
    layout = model().layout
    return split(layout.layers[layer], values[layout.segments[layer]])


def after(state: ServerState, update: ClientUpdate) -> np.ndarray:
    """The full vector with what the client sent."""
    layout = model().layout
    return layout.unpack(update.values, layout.held(update.task.layers, update.task.sent), state.values)
