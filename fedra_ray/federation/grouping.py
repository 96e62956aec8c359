"""Groups of similar layers, by normalised spectral clustering. Von Luxburg 2007, arXiv 0711.0189.

Without randomness, so that servers and clients find the same groups.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_ITERATIONS = 100  # of k-means, which ends in far fewer


def groups(similarity: Floats, count: int) -> list[list[int]]:
    """Divide layers into groups of similar ones.

    Args:
        similarity: Cosines (layers, layers).
        count: How many groups, from 1 to the number of layers.

    Returns:
        The layers of every group, ascending; groups by their first layers.
    """
    layers = len(similarity)
    if count == layers:
        return [[layer] for layer in range(layers)]
    affinity = (1 + similarity) / 2
    root = 1 / np.sqrt(affinity.sum(axis=1))
    _, vectors = np.linalg.eigh(np.eye(layers) - root[:, None] * affinity * root)
    points = root[:, None] * vectors[:, :count]
    labels = _k_means(points / np.linalg.norm(points, axis=0), count)
    found = [np.flatnonzero(labels == label).tolist() for label in range(count)]
    return sorted(found, key=lambda own: own[0])


def consecutive(layers: int, count: int) -> list[list[int]]:
    """Groups of consecutive layers whose sizes differ by at most one."""
    return [part.tolist() for part in np.array_split(np.arange(layers), count)]


def _k_means(points: Floats, count: int) -> NDArray[np.int64]:
    """Labels (points,) from the first point and, one after another, those farthest from the centres so far."""
    chosen = [0]
    while len(chosen) < count:
        distances = np.linalg.norm(points[:, None] - points[chosen], axis=2).min(axis=1)
        distances[chosen] = -1
        chosen.append(int(distances.argmax()))
    labels = _nearest(points, points[chosen])
    labels[chosen] = np.arange(count)  # no group is empty, however close the points are
    for _ in range(_ITERATIONS):
        centres = np.stack([points[labels == label].mean(axis=0) for label in range(count)])
        following = _nearest(points, centres)
        if (following == labels).all() or len(set(following.tolist())) < count:
            break
        labels = following
    return labels


def _nearest(points: Floats, centres: Floats) -> NDArray[np.int64]:
    labels: NDArray[np.int64] = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    return labels
