"""The work of a client in a round, and how long it takes on a simulated device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.devices import profiles
from fedra_ray.config.schema import DeviceConfig, ExperimentConfig, TrainingConfig
from fedra_ray.cost.law import NONE, VALUE_BYTES, CostModel, Passed
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Layout
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
        passed: The further blocks that it runs and does not train.
        fetched: Mean bytes of frozen weights that it downloads a round.
    """

    layers: int
    images: int
    steps: int
    seen: int
    heads: int = 1
    passed: Passed = NONE
    fetched: float = 0

    def flops(self, cost: CostModel) -> int:
        """FLOPs of its local training."""
        return self.seen * cost.step_flops(self.layers, self.heads, self.passed)


def describe(
    method: Method, layers: Sequence[int], images: int, max_steps: int | None, training: TrainingConfig
) -> Workload:
    """The work of a client in a round.

    Args:
        method: Says which heads the client trains, and which further blocks it runs.
        layers: Layers that it trains.
        images: How many images it has.
        max_steps: The most local steps; None for no bound.
        training: Batch size and epochs.
    """
    heads = [name for name in method.named(layers) if name in method.head_names]
    passed = passed_by(layers, method.blocks(layers), method.streams, method.recomputes)
    return _workload(len(layers), len(heads), passed, images, max_steps, training)


def passed_by(layers: Sequence[int], blocks: Sequence[int], streamed: bool, recomputed: bool = False) -> Passed:
    """The blocks that a client runs and does not train.

    Args:
        layers: Those that it trains.
        blocks: Those that it runs.
        streamed: Whether only one of the others is in memory at a time.
        recomputed: Whether the trained ones are so too.
    """
    others = [block for block in blocks if block not in layers]
    before = sum(block < min(layers) for block in others) if layers else len(others)
    return Passed(before, len(others) - before, streamed, recomputed)


def _workload(
    depth: int, heads: int, passed: Passed, images: int, max_steps: int | None, training: TrainingConfig
) -> Workload:
    steps = local_steps(images, max_steps, training)
    return Workload(depth, images, steps, images_seen(images, steps, training), heads, passed)


def simulated_seconds(
    config: ExperimentConfig,
    layout: Layout,
    cost: CostModel | None,
    fleet: Fleet,
    tasks: list[ClientTask],
    sizes: NDArray[np.int64],
) -> list[float] | None:
    """How long each task takes on its client's device; None if no devices are simulated.

    Args:
        config: The experiment.
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
        traffic = VALUE_BYTES * layout.packed_size(layout.held(task.layers, task.sent))
        fetched = task.fetched if config.fleet.storage == "fetched" else 0
        heads = len([name for name in task.named if name in layout.head_names])
        images = int(sizes[task.client])
        passed = passed_by(task.layers, task.blocks, task.streamed, task.recomputed)
        work = _workload(len(task.layers), heads, passed, images, task.max_steps, config.training)
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


def duration(device: DeviceConfig, traffic: int, flops: int, fetched: float = 0) -> Duration:
    """How long a client's round takes on a device.

    Args:
        device: Profile of the device.
        traffic: Bytes that the client receives, and that it sends back.
        flops: FLOPs of its local training.
        fetched: Bytes of frozen weights that it gets besides.
    """
    bits = 8 * traffic
    return Duration(
        download=(bits + 8 * fetched) / (device.download_mbps * 1e6),
        training=flops / (device.gflops * 1e9),
        upload=bits / (device.upload_mbps * 1e6),
    )
