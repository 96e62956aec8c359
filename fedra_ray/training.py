"""One client's local training. No Ray: a sub-model, the client's images, and a task go in, an update comes out."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedra_ray.config import TrainingConfig
from fedra_ray.messages import ClientTask, ClientUpdate
from fedra_ray.methods.method import Method
from fedra_ray.seeding import Purpose, generator
from fedra_ray.submodel import SubModel


def train_client(
    model: SubModel,
    method: Method,
    images: Tensor,
    labels: Tensor,
    values: NDArray[np.float32],
    task: ClientTask,
    config: TrainingConfig,
    seed: int,
) -> ClientUpdate:
    """Train the task's layers and heads on the client's images, from the global values.

    Args:
        model: The shared stack; on return it holds this client's trained values.
        method: Gives the local loss.
        images: Normalised images (examples, 3, H, W).
        labels: Labels (examples,).
        values: The global adapter, flat.
        task: Round, client, layers and heads.
        config: Optimiser settings.
        seed: Of the experiment.

    Returns:
        The trained segments, with the mean loss over the steps taken.
    """
    start = time.perf_counter()
    rng = generator(seed, Purpose.TRAINING, task.round, task.client)
    torch.manual_seed(int(rng.integers(2**63)))  # LoRA dropout draws from torch's own stream
    held = model.layout.held(task.layers, task.heads)
    model.load(values, held)
    model.train()
    optimiser = _optimiser(model, config)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    losses = []
    for batch in _batches(len(images), config, rng):
        optimiser.zero_grad()
        with autocast(config.precision, images.device):
            loss = method.loss(model, images[batch], labels[batch], task.layers, task.progress)
        loss.backward()
        if config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimiser.step()
        losses.append(loss.item())
    mean_loss = float(np.mean(losses))
    seconds = time.perf_counter() - start
    return ClientUpdate(task, model.pack(held), len(images), len(losses), mean_loss, seconds)


def _optimiser(model: SubModel, config: TrainingConfig) -> torch.optim.SGD:
    lora, heads = model.trained()
    groups = [{"params": lora, "lr": config.lr}, {"params": heads, "lr": config.head_lr}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)


def _batches(examples: int, config: TrainingConfig, rng: np.random.Generator) -> Iterator[Tensor]:
    """Image indices of every local step: shuffled passes over the data, cut off after max_steps."""
    steps = 0
    for _ in range(config.local_epochs):
        order = torch.from_numpy(rng.permutation(examples))
        for batch in order.split(config.batch_size):
            if steps == config.max_steps:
                return
            steps += 1
            yield batch


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision for bf16, nothing for fp32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
