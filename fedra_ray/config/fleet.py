"""Settings of the fleet: the simulated clients, and the profiles of their devices."""

from dataclasses import dataclass, field

from fedra_ray.config.bounds import bounded, setting


@dataclass
class DeviceConfig:
    """The profile of a simulated device: what it sustains. The shipped profiles are in conf/devices.yaml.

    Attributes:
        gflops: Arithmetic in training, in 10^9 FLOPs per second: far below what a data sheet calls peak.
        download_mbps: What it receives, in 10^6 bits per second.
        upload_mbps: What it sends, in 10^6 bits per second.
        memory_mb: Memory that training may take, in 10^6 bytes.
    """

    gflops: float = field(metadata=bounded(above=0))
    download_mbps: float = field(metadata=bounded(above=0))
    upload_mbps: float = field(metadata=bounded(above=0))
    memory_mb: float = field(metadata=bounded(above=0))


@dataclass
class FleetConfig:
    """The clients. Client k belongs to domain k mod D and has depth `depths[k mod len(depths)]`.

    Attributes:
        depths: How many blocks a client can hold, in the order of the domains.
        memory_mb: Memory that each client has for training, in 10^6 bytes and in the same order; if given, `depths`
            follow from it.
        dynamic: Draw every client's depth anew each round, from `depths`.
        probabilities: Probability of each of `depths` in such a draw; null makes them equal.
        num_clients: Size of the whole fleet.
        clients_per_round: Size of a round's cohort; null takes every client, or one per domain.
        sampling: How a cohort is drawn without replacement: uniform, or per_domain with equally many of each domain.
        storage: What a client keeps of the frozen model. resident: all of it, downloaded once; these bytes count in the
            first round that it takes part in (`bytes_fetched`), but not in simulated time, as if done beforehand.
            fetched: the blocks of its current sub-model alone; before it trains it downloads those that it did not
            hold the last time it took part, which counts in simulated time too.
        dropout: Probability that a sampled client does not answer in a round.
        straggler_spread: Standard deviation of the logarithm of the clients' times, which are drawn anew each round.
        round_deadline: Updates that take longer than this multiple of the median client's time (with `devices`, of the
            cohort's median) are discarded; null waits for all.
        devices: Names of the clients' device profiles, dealt as `depths` are, which they do not change: client k has
            devices[k mod len(devices)]. With them every client and round gets a simulated time; null simulates none.
        profiles: Further device profiles by name, or other numbers for those of conf/devices.yaml.
    """

    depths: list[int] = field(default_factory=lambda: [12, 10, 8, 6, 4, 3])
    memory_mb: list[float] | None = None
    dynamic: bool = False
    probabilities: list[float] | None = None
    num_clients: int = setting(6, minimum=1, maximum=1_000_000)
    clients_per_round: int | None = setting(None, minimum=1)
    sampling: str = setting("uniform", choices=("uniform", "per_domain"))
    storage: str = setting("resident", choices=("resident", "fetched"))
    dropout: float = setting(0.0, fraction=True)
    straggler_spread: float = setting(0.0, minimum=0)
    round_deadline: float | None = setting(None, above=0)
    devices: list[str] | None = None
    profiles: dict[str, DeviceConfig] = field(default_factory=dict)
