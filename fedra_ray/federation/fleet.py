"""The clients: which domain each belongs to, how many blocks it can hold, and which of them join a round."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.seeding import Purpose, generator

#: The domain, in the records, of a client that has images of all domains.
MIXED = "mixed"

_EVERY_ROUND = 0  # stands for all rounds where depths are the same in each


class Fleet:
    """Client k belongs to domain k mod D and has depth depths[k mod len(depths)], or one drawn anew each round.

    Everything follows from the configuration, so an actor works it out for itself and nothing is sent per client.

    Args:
        config: The experiment: its fleet, partition and seed.
        domains: Names of the data set's domains.

    Raises:
        SettingError: if cohorts cannot be drawn per domain.
    """

    def __init__(self, config: ExperimentConfig, domains: tuple[str, ...]) -> None:
        self.config = config.fleet
        self.domains = domains
        self._mixed = config.partition.scheme == "iid"
        self.seed = config.seed
        self.size = config.fleet.num_clients
        self._depths = lru_cache(maxsize=4)(self._assign_depths)
        self._candidates = lru_cache(maxsize=4)(self._find_candidates)
        self._check_sampling()

    def domain(self, client: int) -> str:
        """Name of the client's domain."""
        return MIXED if self._mixed else self.domains[client % len(self.domains)]

    def depths(self, round_number: int) -> NDArray[np.int64]:
        """How many blocks each client (clients,) can hold in a round; read-only."""
        return self._depths(round_number if self.config.dynamic else _EVERY_ROUND)

    def device(self, client: int) -> str:
        """Name of the client's simulated device; only where `fleet.devices` names some."""
        names = self.config.devices or []
        return names[client % len(names)]

    def cohort(self, round_number: int, eligible: Callable[[int], bool]) -> list[int]:
        """The clients of one round, ascending, drawn from those of an eligible depth without replacement.

        Fewer than configured if there are not enough eligible ones; possibly none.
        """
        allowed = tuple(depth for depth in sorted(set(self.config.depths)) if eligible(depth))
        groups = self._candidates(round_number if self.config.dynamic else _EVERY_ROUND, allowed)
        most = self.per_domain if self.config.sampling == "per_domain" else self.cohort_size
        rng = generator(self.seed, Purpose.COHORT, round_number)
        drawn = [rng.choice(group, min(most, len(group)), replace=False) for group in groups]
        return sorted(np.concatenate(drawn).tolist())

    @property
    def per_domain(self) -> int:
        """How many clients of each domain join a round, if sampling is per domain."""
        return (self.config.clients_per_round or len(self.domains)) // len(self.domains)

    @property
    def cohort_size(self) -> int:
        """The most clients of a round."""
        if self.config.sampling == "per_domain":
            return min(self.size, self.per_domain * len(self.domains))
        return self.config.clients_per_round or self.size

    def possible_depths(self) -> list[int]:
        """The depths of the first clients, enough of them for every cohort that there can be.

        Each depth is there as often as in the fleet, or as a cohort has room for it. If depths are drawn anew each
        round, all that may be drawn are there, equally often.
        """
        given = self.config.depths
        size = self.size
        if self.config.dynamic:
            chances = self.config.probabilities or [1.0] * len(given)
            given = [depth for depth, chance in zip(given, chances, strict=True) if chance > 0]
            size = max(size, len(given))
        return [given[client % len(given)] for client in range(min(size, self.cohort_size * len(given)))]

    def shallowest_cohort(self) -> list[int]:
        """The least depths that a cohort of full size can have."""
        if self.config.dynamic:
            return [min(self.possible_depths())] * self.cohort_size
        depths = self.possible_depths()
        if self.config.sampling == "per_domain":
            groups = [depths[domain :: len(self.domains)] for domain in range(len(self.domains))]
            return [depth for group in groups for depth in sorted(group)[: self.per_domain]]
        return sorted(depths)[: self.cohort_size]

    def _assign_depths(self, round_number: int) -> NDArray[np.int64]:
        if self.config.dynamic:
            rng = generator(self.seed, Purpose.CAPACITY, round_number)
            depths = rng.choice(self.config.depths, size=self.size, p=self.config.probabilities)
        else:
            depths = np.resize(self.config.depths, self.size)
        depths.flags.writeable = False  # all callers share one array
        return depths

    def _find_candidates(self, round_number: int, depths: tuple[int, ...]) -> list[NDArray[np.int64]]:
        """The clients of these depths in the groups that a cohort is drawn from: one group, or one per domain."""
        clients = np.flatnonzero(np.isin(self.depths(round_number), depths))
        if self.config.sampling == "uniform":
            return [clients]
        return [clients[clients % len(self.domains) == domain] for domain in range(len(self.domains))]

    def _check_sampling(self) -> None:
        if self.config.sampling != "per_domain":
            return
        if self._mixed:
            allowed = "clients of partition.scheme=iid have no domain; use uniform"
            raise SettingError("fleet.sampling", self.config.sampling, allowed)
        cohort = self.config.clients_per_round
        if cohort is not None and cohort % len(self.domains):
            allowed = f"must be a multiple of the {len(self.domains)} domains for fleet.sampling=per_domain"
            raise SettingError("fleet.clients_per_round", cohort, allowed)
