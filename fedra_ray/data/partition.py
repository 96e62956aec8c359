"""Ways to divide training images among clients: pure functions of labels and a random generator.

`dirichlet`, `shards` and `iid` return ascending indices of every client's images; every image belongs to exactly one
client. `lazy` returns those of one client, whatever the others have.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_DRAWS = 1000  # of a balanced partition, before its minimum is held to be out of reach
_LEAST_PROPORTION = np.finfo(np.float64).tiny  # classes whose proportions round to 0 are drawn from last


def dirichlet(
    labels: NDArray[np.int64], num_clients: int, alpha: float, min_size: int, rng: np.random.Generator
) -> list[Indices]:
    """Divide every class among the clients in shares drawn from Dirichlet(alpha).

    Hsu et al., arXiv 1909.06335, section 3.

    Args:
        labels: Labels (images,) of the domain.
        num_clients: Number of clients that share the domain.
        alpha: Concentration: large means equal shares of every class, small means label skew.
        min_size: Least number of images of a client.
        rng: Generator of the draw.

    Returns:
        Ascending image indices of every client.

    Raises:
        ValueError: if there are too few images.
    """
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))[:-1]
        cuts = np.rint(shares * len(members)).astype(np.int64)
        owner[members] = np.searchsorted(cuts, np.arange(len(members)), side="right")
    return _with_minimum(owner, num_clients, min_size)


def balanced_dirichlet(
    labels: NDArray[np.int64], num_clients: int, alpha: float, min_size: int, rng: np.random.Generator
) -> list[Indices]:
    """`dirichlet` with sizes that are nearly equal: a client that has its part of the domain gets no more.

    Classes are divided one after another; the shares of clients that already have 1/n of all images are 0, and the
    others' are scaled to sum to 1. All is drawn again until every client has `min_size` images. So Yurochkin et al.,
    arXiv 1905.12022, and the code of FedRA.

    Args:
        labels: Labels (images,) of the domain.
        num_clients: Number of clients n that share the domain.
        alpha: Concentration: large means equal shares of every class, small means label skew.
        min_size: Least number of images of a client.
        rng: Generator of the draw.

    Returns:
        Ascending image indices of every client.

    Raises:
        ValueError: if there are too few images, or no draw gives every client enough.
    """
    for _ in range(_DRAWS):
        sizes = np.zeros(num_clients, dtype=np.int64)
        owner = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            shares = rng.dirichlet(np.full(num_clients, alpha)) + _LEAST_PROPORTION
            shares = shares * (sizes < len(labels) / num_clients)
            cuts = (np.cumsum(shares / shares.sum())[:-1] * len(members)).astype(np.int64)
            owner[members] = np.searchsorted(cuts, np.arange(len(members)), side="right")
            sizes = sizes + np.bincount(owner[members], minlength=num_clients)
        if sizes.min() >= min_size:
            return _with_minimum(owner, num_clients, min_size)
    raise ValueError(f"{_DRAWS} draws gave no {num_clients} clients at least {min_size} of {len(labels)} images each")


def shards(
    labels: NDArray[np.int64], num_clients: int, per_client: int, min_size: int, rng: np.random.Generator
) -> list[Indices]:
    """Sort images by label, cut them into equal shards, and deal `per_client` of these to each client at random.

    McMahan et al., arXiv 1602.05629, section 3 (their pathological partition).

    Args:
        labels: Labels (images,) of the domain.
        num_clients: Number of clients that share the domain.
        per_client: Number of shards of a client.
        min_size: Least number of images of a client.
        rng: Generator of the draw.

    Returns:
        Ascending image indices of every client.

    Raises:
        ValueError: if there are too few images.
    """
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    owners = rng.permutation(np.repeat(np.arange(num_clients), per_client))
    owner = np.empty(len(labels), dtype=np.int64)
    for client, shard in zip(owners, np.array_split(by_label, len(owners)), strict=True):
        owner[shard] = client
    return _with_minimum(owner, num_clients, min_size)


def iid(count: int, num_clients: int, min_size: int, rng: np.random.Generator) -> list[Indices]:
    """Divide images at random into parts whose sizes differ by one at most.

    Args:
        count: Number of images.
        num_clients: Number of clients.
        min_size: Least number of images of a client.
        rng: Generator of the draw.

    Returns:
        Ascending image indices of every client.

    Raises:
        ValueError: if there are too few images.
    """
    owner = np.empty(count, dtype=np.int64)
    owner[rng.permutation(count)] = np.arange(count) % num_clients
    return _with_minimum(owner, num_clients, min_size)


def lazy(labels: NDArray[np.int64], count: int, alpha: float, rng: np.random.Generator) -> Indices:
    """Draw one client's images without replacement, in class proportions of its own.

    The proportions are a draw of Dirichlet(alpha C p), with the shares p of the domain's C classes: Hsu et al., arXiv
    1909.06335, section 3, whose concentration is alpha C here, so that equally large classes get Dirichlet(alpha).
    The images of each class follow by a multinomial draw; what a class lacks is drawn from the others.

    Args:
        labels: Labels (images,) of the client's domain; at least one.
        count: Number of images of the client; it gets all if the domain has fewer.
        alpha: Concentration: large means the domain's own proportions, small means label skew.
        rng: Generator of the draw.

    Returns:
        Ascending image indices.
    """
    sizes = np.bincount(labels)
    classes = np.flatnonzero(sizes)
    room = sizes[classes]
    proportions = rng.dirichlet(alpha * room / room.mean())
    taken = np.zeros_like(room)
    while missing := min(count, len(labels)) - taken.sum():
        left = (proportions + _LEAST_PROPORTION) * (taken < room)
        taken = np.minimum(taken + rng.multinomial(missing, left / left.sum()), room)
    parts = [
        rng.choice(np.flatnonzero(labels == classes[position]), taken[position], replace=False)
        for position in np.flatnonzero(taken)
    ]
    return np.sort(np.concatenate(parts))


def _with_minimum(owner: NDArray[np.int64], num_clients: int, min_size: int) -> list[Indices]:
    """The images of every client, once those with most have given some to those with fewer than `min_size`.

    Args:
        owner: The client (images,) that every image was given to.
        num_clients: Number of clients.
        min_size: Least number of images of a client.
    """
    if num_clients * min_size > len(owner):
        raise ValueError(f"{len(owner)} images are too few for {num_clients} clients with at least {min_size} each")
    parts = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner, minlength=num_clients))[:-1])
    by_size = [(-len(part), client) for client, part in enumerate(parts)]
    heapq.heapify(by_size)
    for client, part in enumerate(parts):
        for _ in range(min_size - len(part)):
            size, richest = heapq.heappop(by_size)
            parts[client] = np.append(parts[client], parts[richest][0])
            parts[richest] = parts[richest][1:]
            heapq.heappush(by_size, (size + 1, richest))
    return [np.sort(part) for part in parts]
