"""How many local steps a client takes."""

import math

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.schema import TrainingConfig


def full_steps(examples: int, config: TrainingConfig) -> int:
    """Steps of all local epochs over a client's images."""
    return config.local_epochs * math.ceil(examples / config.batch_size)


def local_steps(examples: int, bound: int | None, config: TrainingConfig) -> int:
    """Steps of a client's round: of all local epochs, or fewer if there is a bound."""
    full = full_steps(examples, config)
    return full if bound is None else min(bound, full)


def epoch_steps(examples: int, steps: int, config: TrainingConfig) -> int:
    """Steps of each local epoch, of so many in all; fewer than the images' batches with `cap_per_epoch`."""
    full = math.ceil(examples / config.batch_size)
    return min(full, math.ceil(steps / config.local_epochs)) if config.cap_per_epoch else full


def images_seen(examples: int, steps: int, config: TrainingConfig) -> int:
    """How many images a client's steps take together; the last batch of an epoch may be a smaller one."""
    length = max(1, epoch_steps(examples, steps, config))
    epochs, rest = divmod(steps, length)
    return epochs * min(examples, length * config.batch_size) + rest * config.batch_size


def step_bound(config: TrainingConfig, sizes: NDArray[np.int64], cohort: list[int]) -> int | None:
    """The most steps that a client of this cohort may take; None for no bound.

    With `step_cap`, no client takes more steps than the smallest one of the cohort, or of the whole fleet.

    Args:
        config: The settings max_steps, step_cap and extra_step.
        sizes: How many images each client (clients,) of the fleet has; not used without a step_cap.
        cohort: The clients of the round; possibly none, who need no step_cap.
    """
    if config.step_cap == "none" or not cohort:
        return config.max_steps
    smallest = int(sizes[cohort].min() if config.step_cap == "cohort" else sizes.min())
    cap = full_steps(smallest, config) + config.extra_step * (config.local_epochs if config.cap_per_epoch else 1)
    return cap if config.max_steps is None else min(cap, config.max_steps)
