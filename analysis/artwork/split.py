"""Divides concepts into splits, so that what shows the same or looks the same is in one."""

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHARES = {"test": 0.3, "validation": 0.12}
"""Shares of the groups of each class; the rest is for training."""

NEAR = 2e-3
"""Mean squared difference (values in [0, 1]) under which two thumbnails count as the same drawing."""

_THUMBNAIL = 16
_LARGEST_HELD = 2


def thumbnail(image: Image.Image) -> NDArray[np.float32]:
    """A perceptual hash that knows distances: the image at 16 x 16 pixels (768,), in [0, 1]."""
    small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel() / np.float32(255)


def near_pairs(hashes: NDArray[np.float32], near: float = NEAR) -> list[tuple[int, int]]:
    """Pairs of indices (first < second) whose hashes (n, d) differ by less than `near` in the mean square."""
    squares = (hashes**2).sum(1)
    distances = (squares[:, None] + squares - 2 * hashes @ hashes.T) / hashes.shape[1]
    first, second = np.nonzero(np.triu(distances < near, 1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def grouped(items: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of items that pairs connect, in the order of their first items."""
    parent = {item: item for item in items}

    def top(item: str) -> str:
        while parent[item] != item:
            item = parent[item]
        return item

    for first, second in pairs:
        parent[top(second)] = top(first)
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for item in parent:
        groups[top(item)].append(item)
    return list(groups.values())


def split_groups(strata: Mapping[str, Hashable], groups: Sequence[Sequence[str]], rng: random.Random) -> dict[str, str]:
    """The split of every concept: whole groups, drawn until each stratum has its shares.

    A group of three and more, or one that reaches across strata, is for training: it would fill a held-out split with
    one look.

    Args:
        strata: For every concept what shares it to be alike in all splits, such as its class.
        groups: The concepts in groups that must stay together.
        rng: The source of randomness.
    """
    free = [group for group in groups if len(group) <= _LARGEST_HELD and len({strata[item] for item in group}) == 1]
    split = {item: "train" for group in groups for item in group}
    by_stratum: dict[Hashable, list[Sequence[str]]] = defaultdict(list)
    for group in rng.sample(free, len(free)):
        by_stratum[strata[group[0]]].append(group)
    for drawn in by_stratum.values():
        start = 0
        for name, share in SHARES.items():
            count = max(1, round(share * len(drawn))) if len(drawn) > len(SHARES) else 0
            for group in drawn[start : start + count]:
                split.update(dict.fromkeys(group, name))
            start += count
    return split
