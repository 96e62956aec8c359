"""Who does not answer in a round, and whose answer is not to be believed. Pure functions."""

import math

import numpy as np
from numpy.typing import NDArray

from fedra_ray.aggregation import LARGEST_SUM
from fedra_ray.config import AggregationConfig, FleetConfig
from fedra_ray.seeding import Purpose, generator

Vector = NDArray[np.float32]


def silent(config: FleetConfig, cohort: list[int], seed: int, round_number: int) -> tuple[list[int], list[int]]:
    """The clients of a cohort that drop out of the round, and those of the others that answer too late.

    A client's time is the median client's times exp(straggler_spread z), z standard normal: log-normal, as response
    times are.
    """
    rng = generator(seed, Purpose.RELIABILITY, round_number)
    absent = rng.random(len(cohort)) < config.dropout
    times = np.exp(config.straggler_spread * rng.standard_normal(len(cohort)))
    late = ~absent & (times > (config.round_deadline or math.inf))
    clients = np.asarray(cohort, dtype=np.int64)
    return clients[absent].tolist(), clients[late].tolist()


def fault(values: Vector, previous: Vector, config: AggregationConfig, total_weight: int) -> str | None:
    """Why an update must not be averaged, or None.

    Args:
        values: The client's segments.
        previous: The same segments before the round.
        config: Its max_norm.
        total_weight: Of the whole cohort; the exact sum has room for so many values of limited magnitude.
    """
    if not np.isfinite(values).all():
        return "not finite"
    largest = float(np.abs(values).max(initial=0.0))
    if largest * total_weight >= LARGEST_SUM:
        return f"a value of {largest:.3g}, beyond {LARGEST_SUM / total_weight:.3g}"
    norm = float(np.linalg.norm(values.astype(np.float64) - previous))
    if config.max_norm is not None and norm > config.max_norm:
        return f"norm {norm:.3g} beyond aggregation.max_norm={config.max_norm:g}"
    return None
