"""How a domain's training images are divided among its clients. Pure functions of labels and a random generator."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def dirichlet(labels: NDArray[np.int64], num_clients: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    """Divide images so that each class falls on the clients in Dirichlet(alpha) shares.

    A client that would get nothing takes an image from the client that has most.

    Args:
        labels: Labels (images,) of the domain.
        num_clients: How many clients share it.
        alpha: Concentration: large means equal shares of every class, small means label skew.
        rng: Source of the draw.

    Returns:
        Ascending image indices of every client; together they are all images, each once.

    Raises:
        ValueError: if there are more clients than images.
    """
    if num_clients > len(labels):
        raise ValueError(f"{num_clients} clients cannot share {len(labels)} images")
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))[:-1]
        cuts = np.rint(shares * len(members)).astype(np.int64)
        for client, part in enumerate(np.split(members, cuts)):
            owner[part] = client
    parts = [np.flatnonzero(owner == client) for client in range(num_clients)]
    for client, part in enumerate(parts):
        if not len(part):
            richest = max(range(num_clients), key=lambda other: len(parts[other]))
            parts[client], parts[richest] = parts[richest][:1], parts[richest][1:]
    return parts
