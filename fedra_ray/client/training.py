"""One client's local training. No Ray: a sub-model, the client's images, and a task go in, an update comes out."""

import time

import numpy as np
import torch
from numpy.typing import NDArray

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.schema import TrainingConfig
from fedra_ray.data.examples import Examples
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.federation.steps import local_steps
from fedra_ray.methods.method import Method
from fedra_ray.model.submodel import SubModel


def train_client(
    model: SubModel,
    method: Method,
    examples: Examples,
    values: NDArray[np.float32],
    task: ClientTask,
    config: TrainingConfig,
    seed: int,
) -> ClientUpdate:
    """Train the task's layers and heads on the client's images, from the global values.

    Args:
        model: The shared stack; on return it holds this client's trained values.
        method: Gives the local loss.
        examples: The client's images.
        values: The global adapter, flat.
        task: Round, client, layers and heads.
        config: Optimiser settings.
        seed: Of the experiment.

    Returns:
        The trained segments, with the mean loss over the steps taken.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
    """
    start = time.perf_counter()
    rng = generator(seed, Purpose.TRAINING, task.round, task.client)
    held = model.layout.held(task.layers, task.heads)
    model.load(values, model.layout.held(task.layers, [*dict.fromkeys([*task.heads, *model.layout.stem_names])]))
    model.seed(int(rng.integers(2**63)))
    model.train()
    optimiser = _optimiser(model, config)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    losses = []
    for images, labels in examples.batches(_orders(len(examples), task.max_steps, config, rng)):
        optimiser.zero_grad(set_to_none=False)
        loss = method.loss(model, images, labels, task.layers, task.progress)
        loss.backward()
        if config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimiser.step()
        losses.append(loss.item())
    if not losses:
        raise RunFailedError(f"client {task.client}: none of its {len(examples)} images can be read")
    trained = model.pack(held)
    return ClientUpdate(
        task,
        traffic=trained.nbytes,
        examples=len(examples),
        steps=len(losses),
        loss=float(np.mean(losses)),
        seconds=time.perf_counter() - start,
        skipped=tuple(sorted(examples.skipped)),
        values=trained,
    )


def _optimiser(model: SubModel, config: TrainingConfig) -> torch.optim.SGD:
    lora, heads = model.trained()
    groups = [{"params": lora, "lr": config.lr}, {"params": heads, "lr": config.head_lr}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)


def _orders(
    examples: int, max_steps: int | None, config: TrainingConfig, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Positions of the images of every local step: shuffled passes over the data, cut off after max_steps."""
    steps = local_steps(examples, max_steps, config)
    orders: list[NDArray[np.int64]] = []
    while len(orders) < steps:
        orders += np.split(rng.permutation(examples), range(config.batch_size, examples, config.batch_size))
    return orders[:steps]
