"""What an experiment would take on the simulated devices of its clients."""

from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from fedra_ray.config.devices import profiles
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.law import MEGABYTE, CostModel
from fedra_ray.cost.workload import Duration, Workload, duration
from fedra_ray.federation.allocation import DrawnRound
from fedra_ray.federation.dropouts import respond
from fedra_ray.federation.fleet import Fleet


@dataclass(frozen=True)
class DeviceShare:
    """The clients that have the same device.

    Attributes:
        device: Its name.
        clients: How many clients these are in a round, on average over rounds.
        slowest: The times of the slowest of them.
        memory: Bytes at the peak of training, of the client that needs most.
        budget: Bytes that training may take on the device.
    """

    device: str
    clients: float
    slowest: Duration
    memory: int
    budget: float

    @property
    def fits(self) -> bool:
        """Whether the device has the memory that its clients need; a run simulates them either way."""
        return self.memory <= self.budget


@dataclass(frozen=True)
class Simulation:
    """Times on simulated devices.

    Attributes:
        devices: The clients by device, slowest first.
        seconds: Time of all rounds, stragglers and deadline included, if they are like those that were drawn.
    """

    devices: tuple[DeviceShare, ...]
    seconds: float


def simulate(
    cost: CostModel, rounds: list[list[Workload]], drawn: list[DrawnRound], fleet: Fleet, config: ExperimentConfig
) -> Simulation | None:
    """The times of an experiment whose first rounds are these; None if no devices are simulated.

    Args:
        cost: Costs of the model.
        rounds: What each client of their cohorts does.
        drawn: These rounds.
        fleet: Says which device a client has.
        config: The experiment.
    """
    if config.fleet.devices is None:
        return None
    known = profiles(config.fleet)
    names = [fleet.device(client) for each in drawn for client in each.cohort]
    clients = [client for round_ in rounds for client in round_]
    counted = config.fleet.storage == "fetched"
    times = [
        duration(known[name], client.traffic, client.flops(cost), counted * client.fetched)
        for name, client in zip(names, clients, strict=True)
    ]
    shares = []
    for name in set(names):
        members = [index for index, device in enumerate(names) if device == name]
        slowest = max((times[index] for index in members), key=lambda time: time.total)
        memory = max(_memory(cost, clients[index], config.training.batch_size) for index in members)
        shares.append(DeviceShare(name, len(members) / len(rounds), slowest, memory, known[name].memory_mb * MEGABYTE))
    shares.sort(key=lambda share: (-share.slowest.total, share.device))
    totals = iter(time.total for time in times)
    seconds = []
    for each in drawn:
        own = list(islice(totals, len(each.cohort)))
        responses = respond(config.fleet, each.cohort, config.seed, each.number, own)
        seconds.append(responses.duration({*responses.dropped, *responses.late}) or 0.0)
    return Simulation(tuple(shares), config.rounds * fmean(seconds))


def _memory(cost: CostModel, client: Workload, batch_size: int) -> int:
    return cost.memory(client.layers, min(batch_size, client.images), client.heads, client.passed)
