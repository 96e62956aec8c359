"""What a client of a depth does per image and keeps in memory, by method, from the cost law of `plan`."""

from functools import cache

import pandas as pd

from fedra_ray import compose
from fedra_ray.cost.law import MEGABYTE, CostModel, Passed
from fedra_ray.cost.measure import cost_model
from fedra_ray.federation.traffic import VALUE_BYTES
from fedra_ray.model.backbone import build

BATCH = 32
DEPTHS = (3, 4, 6)
WHOLE = Passed(streamed=True, recomputed=True)


@cache
def law(backbone: str, classes: int) -> CostModel:
    """The cost law of a backbone of the configuration, in fp32 and with the default adapter."""
    config = compose(f"backbone={backbone}")
    return cost_model(build(config.backbone), config, classes)


def ways(cost: CostModel, depth: int) -> dict[str, tuple[int, Passed]]:
    """Trained blocks, and blocks that are run besides, of a client of a depth by method."""
    others = cost.num_layers - depth
    return {
        "headonly": (0, Passed(before=cost.num_layers, streamed=True)),
        "fedra": (depth, Passed()),
        "suffix": (depth, Passed(before=others, streamed=True)),
        "recomputed": (cost.num_layers, WHOLE),
        "alllarge": (cost.num_layers, Passed()),
    }


def equal_batch(cost: CostModel, depth: int, batch_size: int = BATCH) -> int:
    """Images a step of the recomputed whole model at no more FLOPs than suffix tuning at a depth with a full batch."""
    suffix, whole = (cost.step_flops(layers, passed=passed) for layers, passed in _pair(cost, depth))
    return batch_size * suffix // whole


def _pair(cost: CostModel, depth: int) -> tuple[tuple[int, Passed], tuple[int, Passed]]:
    own = ways(cost, depth)
    return own["suffix"], own["recomputed"]


def table(backbone: str, classes: int, batch_size: int) -> pd.DataFrame:
    """A row per depth and method: FLOPs per image in forward passes of the whole model, megabytes, and traffic.

    Megabytes (10^6) are those of a step's peak with a full batch, of streamed weights one block's; `up` those that a
    client sends a round.
    """
    cost = law(backbone, classes)
    forward = cost.step_flops(0, passed=Passed(before=cost.num_layers))
    rows = []
    for depth in DEPTHS:
        for method, (layers, passed) in ways(cost, depth).items():
            rows.append(
                {
                    "depth": depth,
                    "method": method,
                    "forward passes": cost.step_flops(layers, passed=passed) / forward,
                    "memory_mb": cost.memory(layers, batch_size, passed=passed) / MEGABYTE,
                    "up_mb": VALUE_BYTES * cost.parameters(layers) / MEGABYTE,
                }
            )
    return pd.DataFrame(rows)
