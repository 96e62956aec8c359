"""What a client of a depth does per image and keeps in memory, by method, from the cost law of `plan`."""

from functools import cache

import pandas as pd

from fedra_ray import compose
from fedra_ray.cost.law import MEGABYTE, CostModel, Passed
from fedra_ray.cost.measure import cost_model
from fedra_ray.data.dataset import open_dataset
from fedra_ray.federation.traffic import VALUE_BYTES
from fedra_ray.model.backbone import build, input_size

BATCH = 32
DEPTHS = (3, 4, 6)
#: Of each batch, that the layers beyond a client's depth learn from, by method.
SHARES = {"partial": 0.25, "half": 0.5}


@cache
def law(dataset: str, backbone: str) -> CostModel:
    """The cost law of a backbone on a data set of the configuration, in fp32 and with the default adapter."""
    config = compose(f"dataset={dataset}", f"backbone={backbone}")
    model = build(config.backbone)
    return cost_model(model, config, len(open_dataset(config.dataset, input_size(model)).classes))


def ways(cost: CostModel, depth: int) -> dict[str, tuple[int, Passed]]:
    """Trained blocks, and how blocks are passed, of a client of a depth by method."""
    layers = cost.num_layers
    return {
        "headonly": (0, Passed(before=layers, streamed=True)),
        "fedra": (depth, Passed()),
        "suffix": (depth, Passed(before=layers - depth, streamed=True)),
        **{name: (layers, Passed(partial=layers - depth + 1, share=share)) for name, share in SHARES.items()},
        "recomputed": (layers, Passed(streamed=True, recomputed=True)),
        "alllarge": (layers, Passed()),
    }


def equal_batch(cost: CostModel, depth: int, method: str = "partial", batch_size: int = BATCH) -> int:
    """Images a step of the recomputed whole model at the FLOPs of a method with a full batch, rounded up."""
    known = ways(cost, depth)
    own, whole = (cost.step_flops(layers, passed=passed) for layers, passed in (known[method], known["recomputed"]))
    return -(-batch_size * own // whole)


def table(cost: CostModel, batch_size: int) -> pd.DataFrame:
    """A row per depth and method: FLOPs per image in forward passes of the whole model, megabytes, and traffic.

    Megabytes (10^6) are those of a step's peak with a full batch; `up` those that a client sends a round.
    """
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
