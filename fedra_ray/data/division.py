"""Which training images belong to which client of an experiment."""

from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.data import partition
from fedra_ray.data.dataset import Labelled
from fedra_ray.federation.seeding import Purpose, generator

Indices = NDArray[np.int64]
#: A client's images: pairs of a domain and indices within its training split.
Share = list[tuple[str, Indices]]

#: Columns of the table of a partition.
TABLE = pa.schema(
    {
        "client": pa.int32(),
        "domain": pa.string(),
        "label": pa.int32(),
        "label_name": pa.string(),
        "images": pa.int64(),
    }
)
_TABLED = 200  # clients of a lazy partition in its table; to draw all of a large fleet would take minutes


class Division:
    """Divides the training images of a data set by the configured partition, domain by domain, when they are needed.

    With the lazy scheme, a client's images are drawn when they are asked for, from (seed, client) alone: neither time
    nor memory depends on the number of clients, and different clients may have the same images.

    Args:
        config: The experiment, of which the partition, the number of clients and the seed are used.
        dataset: The data set.
    """

    def __init__(self, config: ExperimentConfig, dataset: Labelled) -> None:
        self._config = config.partition
        self._clients = config.fleet.num_clients
        self._seed = config.seed
        self._dataset = dataset
        self._domain_parts = lru_cache(maxsize=64)(self._divide_domain)

    def share(self, client: int) -> Share:
        """A client's training images: pairs of a domain and ascending indices within its training split."""
        domains = self._dataset.domains
        if self._config.scheme == "iid":
            mine, starts = self._pooled_parts[client], self._starts
            parts = np.split(mine, np.searchsorted(mine, starts[1:-1]))
            by_domain = zip(domains, parts, starts, strict=False)  # the last of `starts` is the end
            return [(domain, part - start) for domain, part, start in by_domain if len(part)]
        position, domain = divmod(client, len(domains))
        if self._config.scheme == "lazy":
            return [(domains[domain], self._draw(client))]
        return [(domains[domain], self._domain_parts(domain)[position])]

    def proxy(self, domain: int, part: float) -> Share:
        """The training images of a domain that the server has too: a uniform draw, the same in every round.

        Args:
            domain: Number of the domain.
            part: How much of its training images, above 0; there is at least one image.
        """
        name = self._dataset.domains[domain]
        images = len(self._dataset.labels(name, "train"))
        rng = generator(self._seed, Purpose.PROXY, domain)
        return [(name, np.sort(rng.choice(images, max(1, round(part * images)), replace=False)))]

    def sizes(self) -> Indices:
        """Numbers of training images (clients,) of all clients."""
        if self._config.scheme == "lazy":
            available = np.diff(self._starts)
            return np.resize(np.minimum(self._config.examples_per_client, available), self._clients)
        owners, _ = self._owned()
        return np.bincount(owners, minlength=self._clients)

    def table(self) -> pa.Table:
        """One row per client, domain and class that has images, with their number; its schema is `TABLE`.

        Of a lazy partition it holds the first 200 clients alone, who stand for the others.
        """
        domains, classes = self._dataset.domains, self._dataset.classes
        labels = np.concatenate([self._dataset.labels(domain, "train") for domain in domains])
        owners, images = self._owned()
        of_domain = np.searchsorted(self._starts, images, side="right") - 1
        kinds = (owners * len(domains) + of_domain) * len(classes) + labels[images]
        kinds, counts = np.unique(kinds, return_counts=True)
        kinds, label = np.divmod(kinds, len(classes))
        client, domain = np.divmod(kinds, len(domains))
        columns = (client, pa.array(domains).take(domain), label, pa.array(classes).take(label), counts)
        return pa.table(dict(zip(TABLE.names, columns, strict=True)), schema=TABLE)

    def check(self) -> None:
        """Refuse a partition in which some client would have fewer images than `partition.min_size`.

        A balanced partition is drawn for that, as no count tells whether a draw reaches the minimum.

        Raises:
            SettingError: naming the domain and how many images it has; or for `balanced` where nothing is balanced.
        """
        domains, least = self._dataset.domains, self._config.min_size
        if self._config.balanced and self._config.scheme != "domain":
            allowed = f"balances the clients of a domain, and partition={self._config.name} has no such; set false"
            raise SettingError("partition.balanced", True, allowed)
        if self._config.scheme == "lazy":
            self._check_lazy()
            return
        images = {domain: len(self._dataset.labels(domain, "train")) for domain in domains}
        clients = {domain: len(range(number, self._clients, len(domains))) for number, domain in enumerate(domains)}
        if self._config.scheme == "iid":
            images, clients = {"the data set": sum(images.values())}, {"the data set": self._clients}
        for place, count in images.items():
            if clients[place] * least > count:
                allowed = f"{place} has {count} training {self._dataset.noun}, too few for {clients[place]} clients"
                raise SettingError("fleet.num_clients", self._clients, f"{allowed} with at least {least} each")
            if self._config.scheme == "shards" and self._config.shards_per_client > count:
                allowed = f"{place} has {count} training {self._dataset.noun}, too few for a client's shards"
                raise SettingError("partition.shards_per_client", self._config.shards_per_client, allowed)
        if self._config.scheme == "domain" and self._config.balanced:
            self._check_draws()

    def _check_draws(self) -> None:
        for number, domain in enumerate(self._dataset.domains[: self._clients]):
            try:
                self._domain_parts(number)
            except ValueError as error:
                remedy = "it must be smaller, partition.alpha larger or fleet.num_clients smaller"
                allowed = f"in {domain}, {error}; {remedy}"
                raise SettingError("partition.min_size", self._config.min_size, allowed) from error

    def _check_lazy(self) -> None:
        wanted, least = self._config.examples_per_client, self._config.min_size
        for domain in self._dataset.domains[: self._clients]:
            images = len(self._dataset.labels(domain, "train"))
            if min(wanted, images) < least:
                has = f"{domain} has {images} training {self._dataset.noun}"
                allowed = f"{has}, and a client needs partition.min_size={least}"
                raise SettingError("partition.examples_per_client", wanted, allowed)

    def _owned(self) -> tuple[Indices, Indices]:
        """Pairs of a client and one of its images: clients (n,) and images (n,), numbered through all domains."""
        number, starts = len(self._dataset.domains), self._starts
        if self._config.scheme == "iid":
            clients, parts = list(range(self._clients)), self._pooled_parts
        elif self._config.scheme == "lazy":
            clients = list(range(min(self._clients, _TABLED)))
            parts = [starts[client % number] + self._draw(client) for client in clients]
        else:
            inhabited = range(min(self._clients, number))
            clients = [client for domain in inhabited for client in range(domain, self._clients, number)]
            parts = [starts[domain] + part for domain in inhabited for part in self._domain_parts(domain)]
        return np.repeat(clients, [len(part) for part in parts]), np.concatenate(parts)

    @cached_property
    def _starts(self) -> Indices:
        """The number of the first training image of every domain, when all images are numbered through, and the end."""
        return np.cumsum([0] + [len(self._dataset.labels(domain, "train")) for domain in self._dataset.domains])

    @cached_property
    def _pooled_parts(self) -> list[Indices]:
        rng = generator(self._seed, Purpose.PARTITION)
        return partition.iid(self._starts[-1], self._clients, self._config.min_size, rng)

    def _draw(self, client: int) -> Indices:
        config, domains = self._config, self._dataset.domains
        labels = self._dataset.labels(domains[client % len(domains)], "train")
        rng = generator(self._seed, Purpose.PARTITION, client)
        return partition.lazy(labels, config.examples_per_client, config.alpha, rng)

    def _divide_domain(self, domain: int) -> list[Indices]:
        config, name = self._config, self._dataset.domains[domain]
        sharing = len(range(domain, self._clients, len(self._dataset.domains)))
        labels = self._dataset.labels(name, "train")
        rng = generator(self._seed, Purpose.PARTITION, domain)
        if config.scheme == "shards":
            return partition.shards(labels, sharing, config.shards_per_client, config.min_size, rng)
        divide = partition.balanced_dirichlet if config.balanced else partition.dirichlet
        return divide(labels, sharing, config.alpha, config.min_size, rng)
