"""The work of a client in a round, and how long it takes on a simulated device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.devices import profiles
from fedra_ray.config.schema import DeviceConfig, ExperimentConfig, TrainingConfig
from fedra_ray.cost.law import NONE, CostModel, Passed
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.steps import images_seen, local_steps
from fedra_ray.federation.traffic import NO_TRAFFIC, Traffic
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
        passed: What else it runs.
        traffic: Bytes of trained values that it sends and receives.
        fetched: Mean bytes of frozen weights that it downloads a round.
    """

    layers: int
    images: int
    steps: int
    seen: int
    heads: int = 1
    passed: Passed = NONE
    traffic: Traffic = NO_TRAFFIC
    fetched: float = 0

    def flops(self, cost: CostModel) -> int:
        """FLOPs of its local training."""
        return self.seen * cost.step_flops(self.layers, self.heads, self.passed)


def describe(
    method: Method,
    layers: Sequence[int],
    images: int,
    max_steps: int | None,
    training: TrainingConfig,
    depth: int | None = None,
) -> Workload:
    """The work of a client in a round.

    Args:
        method: Says which heads the client trains, and which further blocks it runs.
        layers: Layers that it trains.
        images: How many images it has.
        max_steps: The most local steps; None for no bound.
        training: Batch size and epochs.
        depth: How many blocks it can hold; None for as many as it trains.
    """
    named = {*method.named(layers)}
    heads = len(named & {*method.head_names})
    steps = local_steps(images, max_steps, training)
    seen = images_seen(images, steps, training)
    return Workload(len(layers), images, steps, seen, heads, _passed(method, layers, depth or len(layers)))


def _passed(method: Method, layers: Sequence[int], depth: int) -> Passed:
    """What a client runs besides the layers that it trains, and how."""
    others = [block for block in method.blocks(layers) if block not in layers]
    before = sum(block < min(layers) for block in others) if layers else len(others)
    stand_ins = len({*method.named(layers)} & {*method.stand_in_names})
    partial = method.partial(layers, depth)
    return Passed(before, len(others) - before, method.streams, method.recomputes, stand_ins, partial, method.share)


def simulated_seconds(
    config: ExperimentConfig,
    method: Method,
    layout: Layout,
    cost: CostModel | None,
    fleet: Fleet,
    tasks: list[ClientTask],
    sizes: NDArray[np.int64],
) -> list[float] | None:
    """How long each task takes on its client's device; None if no devices are simulated.

    Args:
        config: The experiment.
        method: Names heads and stand-ins.
        layout: Says how much the clients send and receive.
        cost: What sub-models cost; None without devices.
        fleet: Says which device a client has.
        tasks: Tasks of a round.
        sizes: How many images each client (clients,) of the fleet has.
    """
    if config.fleet.devices is None or cost is None:
        return None
    known = profiles(config.fleet)
    seconds = []
    for task in tasks:
        traffic = method.traffic(layout, task.layers, task.sent, task.round)
        fetched = task.fetched if config.fleet.storage == "fetched" else 0
        work = describe(method, task.layers, int(sizes[task.client]), task.max_steps, config.training, task.depth)
        seconds.append(duration(known[fleet.device(task.client)], traffic, work.flops(cost), fetched).total)
    return seconds


@dataclass(frozen=True)
class Duration:
    """Seconds of a client's round on its device, by phase."""

    download: float
    training: float
    upload: float

    @property
    def total(self) -> float:
        """All three, one after another."""
        return self.download + self.training + self.upload


def duration(device: DeviceConfig, traffic: Traffic, flops: int, fetched: float = 0) -> Duration:
    """How long a client's round takes on a device.

    Args:
        device: Profile of the device.
        traffic: Bytes that the client sends and receives.
        flops: FLOPs of its local training.
        fetched: Bytes of frozen weights that it gets besides.
    """
    return Duration(
        download=8 * (traffic.down + fetched) / (device.download_mbps * 1e6),
        training=flops / (device.gflops * 1e9),
        upload=8 * traffic.up / (device.upload_mbps * 1e6),
    )
