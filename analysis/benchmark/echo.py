"""Rounds of clients that train nothing and send 614,400 bytes back: what remains is the cost of coordination."""

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray

from analysis.benchmark.processes import cpu_seconds, memory_mb
from fedra_ray.blueprint import Blueprint
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.data.dataset import open_dataset
from fedra_ray.experiment import run
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.messages import ClientTask, ClientUpdate, Score
from fedra_ray.federation.partial_round import PartialRound, reduce
from fedra_ray.federation.reports import RoundReport
from fedra_ray.federation.shards import Shard
from fedra_ray.federation.state import Arrays, ServerState, Vector
from fedra_ray.federation.storage import FrozenBytes
from fedra_ray.federation.traffic import Traffic
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.runtime.placement import SlotSpec
from fedra_ray.runtime.pool import SlotPool
from fedra_ray.runtime.server import Server
from fedra_ray.runtime.slot import ClientSlot

NUM_LAYERS = 12
VALUES = 153_600  # of float32 from every client: 614,400 bytes
_HEAD = 9_600
_IGNORED = 5  # rounds before the first that counts: actors start in them


class EchoSlot(ClientSlot):
    """A client actor that sends back what it received."""

    def __init__(self, number: int, given: list[ray.ObjectRef]) -> None:
        self._blueprint: Blueprint = ray.get(given[0])
        self._method = self._blueprint.method()

    def train(self, tasks: list[tuple[ClientTask, int]], sent: ServerState, kept: Mapping[int, Arrays]) -> PartialRound:
        layout, aggregation = self._blueprint.layout, self._blueprint.config.aggregation
        answers = (self._echo(task, sent.values) for task, _ in tasks)
        return reduce(answers, self._method.reduction(layout), layout, aggregation, sent.values)

    def evaluate(self, shard: Shard, values: Vector) -> Score:
        return Score(shard.domain, "test", shard.stop - shard.start, 0, 0, 0.0)

    def _echo(self, task: ClientTask, values: Vector) -> ClientUpdate:
        layout = self._blueprint.layout
        echoed = layout.pack(values, layout.held(task.layers, task.sent))
        return ClientUpdate(
            task, Traffic(echoed.nbytes, echoed.nbytes), examples=1, steps=0, loss=0.0, seconds=0.0, values=echoed
        )


class EchoServer(Server):
    """The server actor, over such clients."""

    actor = EchoSlot


@dataclass(frozen=True)
class Echo:
    """What rounds cost.

    Attributes:
        seconds: Wall time per round, median.
        cpu_seconds: CPU time per round of the process and all that it started, Ray's own included; mean.
        memory_mb: Memory of these at the end, in 10^6 bytes.
    """

    seconds: float
    cpu_seconds: float
    memory_mb: float


def echo(cohort: int, rounds: int, fleet: int | None = None, slots: int = 2) -> Echo:
    """Run an experiment of echoing clients on the Ray instance that this process is connected to.

    Args:
        cohort: Clients per round.
        rounds: How many rounds count.
        fleet: Clients in all; None for as many as a round has.
        slots: Number of client actors.
    """
    blueprint = blueprint_of(cohort, rounds + _IGNORED, fleet or cohort, slots)
    blueprint.config.checkpoint.every = blueprint.config.rounds
    pool = SlotPool(blueprint, ray.put({}), lambda: [SlotSpec(NUM_LAYERS, 1.0, 0.0)] * slots, EchoSlot)
    with tempfile.TemporaryDirectory() as folder:
        seconds, cpu = _follow(blueprint, pool, Path(folder))
        return Echo(seconds, cpu, memory_mb())


def blueprint_of(cohort: int, rounds: int, fleet: int, slots: int) -> Blueprint:
    """An experiment of echoing clients, evaluated at its end alone."""
    config = ExperimentConfig(rounds=rounds)
    config.fleet.depths = [NUM_LAYERS]
    config.fleet.num_clients, config.fleet.clients_per_round = fleet, cohort
    config.runtime.max_actors = slots
    config.partition.scheme = "lazy"
    config.partition.examples_per_client = 1
    config.evaluation.every = rounds
    dataset = open_dataset(config.dataset, 32)
    layers = tuple((Entry(f"{number}", ((VALUES - _HEAD) // NUM_LAYERS,)),) for number in range(NUM_LAYERS))
    layout = Layout(layers, ((Entry("head", (_HEAD,)),),), ("head",))
    frozen = FrozenBytes(0, (0,) * NUM_LAYERS)
    return Blueprint(config, layout, (), 32, dataset.domains, dataset.classes, frozen)


def _follow(blueprint: Blueprint, pool: SlotPool, folder: Path) -> tuple[float, float]:
    """Median wall time, and mean CPU time, of the rounds that count."""
    ends: list[float] = []
    cpu_start = 0.0
    for event in run(blueprint, pool, Journal(Folder(folder), blueprint.config)):
        if isinstance(event, RoundReport):
            ends.append(time.perf_counter())
            if event.round == _IGNORED:
                cpu_start = cpu_seconds()
    cpu = (cpu_seconds() - cpu_start) / (len(ends) - _IGNORED)
    return statistics.median(np.diff(ends[_IGNORED - 1 :]).tolist()), cpu
