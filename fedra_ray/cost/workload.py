"""What a client of a round has to do, and how long that takes on a simulated device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.devices import profiles
from fedra_ray.config.schema import DeviceConfig, TrainingConfig
from fedra_ray.cost.law import VALUE_BYTES, CostModel
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.steps import images_seen, local_steps
from fedra_ray.methods.method import Method


@dataclass(frozen=True)
class Workload:
    """A client's part in a round.

    Attributes:
        layers: How many blocks it trains.
        images: How many images it has.
        steps: Its local steps.
        seen: How many images these steps take together.
        heads: How many heads it trains.
        idle: How many further blocks it runs and does not train.
    """

    layers: int
    images: int
    steps: int
    seen: int
    heads: int = 1
    idle: int = 0

    def flops(self, cost: CostModel) -> int:
        """FLOPs of its local training."""
        return self.seen * cost.step_flops(self.layers, self.heads, self.idle)


def describe(
    method: Method, layers: Sequence[int], images: int, max_steps: int | None, training: TrainingConfig
) -> Workload:
    """What a client with these layers does. One that trains no block runs the whole model for its head."""
    idle = 0 if layers else len(method.evaluated_layers)
    steps = local_steps(images, max_steps, training)
    seen = images_seen(images, steps, training)
    return Workload(len(layers), images, steps, seen, len(method.held_heads(layers)), idle)


def simulated_seconds(
    blueprint: Blueprint, method: Method, fleet: Fleet, tasks: list[ClientTask], sizes: NDArray[np.int64]
) -> list[float] | None:
    """How long each task takes on its client's device; None if no devices are simulated.

    Args:
        blueprint: Of the experiment.
        method: The federated method.
        fleet: Says which device a client has.
        tasks: Of a round.
        sizes: How many images each client (clients,) of the fleet has.
    """
    config, layout, cost = blueprint.config, blueprint.layout, blueprint.cost
    if config.fleet.devices is None or cost is None:
        return None
    known = profiles(config.fleet)
    values = [segment.stop - segment.start for segment in layout.segments]
    seconds = []
    for task in tasks:
        traffic = VALUE_BYTES * sum(values[index] for index in layout.held(task.layers, task.heads))
        work = describe(method, task.layers, int(sizes[task.client]), task.max_steps, config.training)
        seconds.append(duration(known[fleet.device(task.client)], traffic, work.flops(cost)).total)
    return seconds


@dataclass(frozen=True)
class Duration:
    """Seconds of a client's round on its device."""

    download: float
    training: float
    upload: float

    @property
    def total(self) -> float:
        """All three, one after another."""
        return self.download + self.training + self.upload


def duration(device: DeviceConfig, traffic: int, flops: int) -> Duration:
    """How long a client's round takes on a device.

    Args:
        device: Its profile.
        traffic: Bytes that the client gets, and that it sends back.
        flops: FLOPs of its local training.
    """
    bits = 8 * traffic
    return Duration(
        download=bits / (device.download_mbps * 1e6),
        training=flops / (device.gflops * 1e9),
        upload=bits / (device.upload_mbps * 1e6),
    )
