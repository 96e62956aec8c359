"""Every random number comes from (seed, purpose, ...), never from a process: no schedule can change a result."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for. The numbers are part of the results: never renumber."""

    ADAPTER = 0
    PARTITION = 1
    COHORT = 2
    ALLOCATION = 3
    TRAINING = 4
    CAPACITY = 5
    RELIABILITY = 6
    PROXY = 7
    SERVER = 8


def generator(seed: int, purpose: Purpose, *where: int) -> np.random.Generator:
    """The stream of `purpose` at `where`: numbers of a round, a client or a domain, depending on the purpose."""
    return np.random.default_rng(np.random.SeedSequence([seed, purpose, *where]))
