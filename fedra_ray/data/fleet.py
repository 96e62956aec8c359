"""The clients: which domain each belongs to, how many blocks it can hold, and which images are its own."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config import FleetConfig
from fedra_ray.data.dataset import Dataset
from fedra_ray.data.partition import dirichlet
from fedra_ray.errors import SettingError
from fedra_ray.seeding import Purpose, generator


class Fleet:
    """Client k belongs to domain k mod D and has depth depths[k mod len(depths)].

    Everything follows from the configuration, so an actor works it out for itself and nothing per client is sent.
    """

    def __init__(self, config: FleetConfig, domains: tuple[str, ...], seed: int) -> None:
        self.config = config
        self.domains = domains
        self.seed = seed

    def domain(self, client: int) -> str:
        """Name of the client's domain."""
        return self.domains[client % len(self.domains)]

    def depth(self, client: int) -> int:
        """How many blocks the client can hold."""
        return self.config.depths[client % len(self.config.depths)]

    def cohort(self, round_number: int, eligible: list[int]) -> list[int]:
        """The clients of one round, ascending: all eligible ones, or a uniform draw without replacement."""
        wanted = self.config.clients_per_round
        if wanted is None or wanted >= len(eligible):
            return eligible
        rng = generator(self.seed, Purpose.COHORT, round_number)
        return sorted(rng.choice(eligible, size=wanted, replace=False).tolist())

    def examples(self, client: int, dataset: Dataset) -> NDArray[np.int64]:
        """Indices of the client's images within its domain's training split."""
        domain, position = client % len(self.domains), client // len(self.domains)
        return _domain_parts(self, dataset, domain)[position]

    def check_data(self, dataset: Dataset) -> None:
        """Refuse a fleet in which some client would have no image.

        Raises:
            SettingError: naming the smallest domain.
        """
        sizes = {domain: len(dataset.labels(domain, "train")) for domain in self.domains}
        smallest = min(sizes, key=lambda domain: sizes[domain])
        if -(-self.config.num_clients // len(self.domains)) > sizes[smallest]:
            allowed = f"must be at most {len(self.domains)} x {sizes[smallest]}, the training images of {smallest}"
            raise SettingError("fleet.num_clients", self.config.num_clients, allowed)


@lru_cache(maxsize=64)
def _domain_parts(fleet: Fleet, dataset: Dataset, domain: int) -> list[NDArray[np.int64]]:
    sharing = len(range(domain, fleet.config.num_clients, len(fleet.domains)))
    labels = dataset.labels(fleet.domains[domain], "train")
    return dirichlet(labels, sharing, fleet.config.alpha, generator(fleet.seed, Purpose.PARTITION, domain))
