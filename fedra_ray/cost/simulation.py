"""What an experiment would take on the simulated devices of its clients."""

from dataclasses import dataclass

from fedra_ray.config.devices import profiles
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.law import MEGABYTE, CostModel
from fedra_ray.cost.workload import Duration, Workload, duration
from fedra_ray.federation.dropouts import respond
from fedra_ray.federation.fleet import Fleet


@dataclass(frozen=True)
class DeviceShare:
    """The clients of a round that have the same device.

    Attributes:
        device: Its name.
        clients: How many clients these are.
        slowest: The times of the slowest of them.
        memory: Bytes at the peak of training, of the client that needs most.
        budget: Bytes that training may take on the device.
    """

    device: str
    clients: int
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
        seconds: Time of all rounds, if every one is like the first, stragglers and deadline included.
    """

    devices: tuple[DeviceShare, ...]
    seconds: float


def simulate(
    cost: CostModel, clients: list[Workload], cohort: list[int], fleet: Fleet, config: ExperimentConfig
) -> Simulation | None:
    """The times of an experiment whose first round has these clients; None if no devices are simulated.

    Args:
        cost: Costs of the model.
        clients: What each client of the cohort does.
        cohort: The clients of the first round.
        fleet: Says which device a client has.
        config: The experiment.
    """
    if config.fleet.devices is None:
        return None
    known = profiles(config.fleet)
    names = [fleet.device(client) for client in cohort]
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
        shares.append(DeviceShare(name, len(members), slowest, memory, known[name].memory_mb * MEGABYTE))
    responses = respond(config.fleet, cohort, config.seed, 1, [time.total for time in times])
    seconds = responses.duration({*responses.dropped, *responses.late}) or 0.0
    shares.sort(key=lambda share: (-share.slowest.total, share.device))
    return Simulation(tuple(shares), config.rounds * seconds)


def _memory(cost: CostModel, client: Workload, batch_size: int) -> int:
    return cost.memory(client.layers, min(batch_size, client.images), client.heads, client.passed)
