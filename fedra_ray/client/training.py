"""One client's local training, without Ray: from a sub-model, the client's examples and a task to an update."""

import time

import numpy as np
import torch
from numpy.typing import NDArray

from fedra_ray.client.descent import Descent
from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.schema import TrainingConfig
from fedra_ray.data.feeding import AnyExamples
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.federation.steps import epoch_steps, local_steps
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Method
from fedra_ray.model.submodel import SubModel


def train_client(
    model: SubModel,
    method: Method,
    examples: AnyExamples,
    sent: ServerState,
    kept: Arrays,
    task: ClientTask,
    config: TrainingConfig,
    seed: int,
) -> ClientUpdate:
    """Train the task's layers, heads and extras on the client's examples, from the global values.

    Args:
        model: The shared stack; on return it holds this client's trained values.
        method: Gives the local loss, and what happens before, in and after the local steps.
        examples: The client's examples.
        sent: The global adapter, and the arrays that the method's server sent along.
        kept: What the client kept from its last round; empty before its first.
        task: What to train, and for how long.
        config: Settings of the optimiser and the local steps.
        seed: Seed of the experiment.

    Returns:
        The trained segments that the client sends, with the mean loss over the steps taken.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
        RunFailedError: if none of the client's images can be read.
    """
    start = time.perf_counter()
    rng = generator(seed, Purpose.TRAINING, task.round, task.client)
    local = LocalRound(task, model.layout, sent.values, sent.arrays, dict(kept))
    model.load(sent.values, local.trained)
    model.seed(int(rng.integers(2**63)))
    orders = _orders(len(examples), task.max_steps, config, rng)
    local.planned = len(orders)
    losses = _train(model, method, examples, local, orders, config)
    if not losses:
        raise RunFailedError(f"client {task.client}: none of its {len(examples)} images can be read")
    extra = method.finish(model, local)
    traffic = method.traffic(model.layout, task.layers, task.sent, task.round)
    added = {name: array.nbytes for name, array in extra.items()}
    both = added.keys() - method.statistics  # the server sends as much of the same down
    return ClientUpdate(
        task,
        Traffic(traffic.up + sum(added.values()), traffic.down + sum(added[name] for name in both)),
        examples=len(examples),
        steps=len(losses),
        loss=float(np.mean(losses)),
        seconds=time.perf_counter() - start,
        skipped=tuple(sorted(examples.skipped)),
        values=model.pack(local.sent),
        extra=extra,
        kept=local.kept if method.keeps_client_state else {},
    )


def _train(
    model: SubModel,
    method: Method,
    examples: AnyExamples,
    local: LocalRound,
    orders: list[NDArray[np.int64]],
    config: TrainingConfig,
) -> list[float]:
    """Take the local steps; returns the loss of each."""
    model.train()
    lora, heads = model.trained()
    descent = Descent([(config.lr, lora), (config.head_lr, heads)], config.momentum, config.weight_decay)
    losses = []
    model.cut(method.ranks(local.task.layers))
    method.begin(model, local)
    for batch in examples.batches(orders):
        descent.zero_grad()
        loss = method.loss(model, batch, local)
        loss.backward()
        method.adjust_gradients(model, local)
        model.cut_gradients()
        if config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(descent.parameters, config.clip_norm)
        descent.step()
        losses.append(loss.item())
        local.steps += 1
    return losses


def _orders(
    examples: int, max_steps: int | None, config: TrainingConfig, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Positions of the images of every local step: shuffled passes over the data, cut off after max_steps."""
    steps = local_steps(examples, max_steps, config)
    length = epoch_steps(examples, steps, config)
    orders: list[NDArray[np.int64]] = []
    while len(orders) < steps:
        orders += np.split(rng.permutation(examples), range(config.batch_size, examples, config.batch_size))[:length]
    return orders[:steps]
