"""The share of a GPU that a client actor reserves."""

import math


def gpu_share(depth: int, num_layers: int, full: float) -> float:
    """GPU share of an actor whose clients hold at most `depth` of the model's layers, so that GPUs mimic capacity.

    Args:
        depth: The most layers that a client of the actor holds.
        num_layers: Layers of the full model.
        full: Share of an actor that takes any client, runtime.num_gpus, in GPUs.

    Returns:
        depth / num_layers of the full share, rounded up to what Ray places well: 1/k for a whole k, or a whole number.
    """
    wanted = full * depth / num_layers
    if wanted == 0:
        return 0.0
    return 1 / math.floor(1 / wanted + 1e-9) if wanted < 1 else float(math.ceil(wanted - 1e-9))
