"""How fast 10,000 updates of ViT-B/16's LoRA are averaged, against numpy's sum of the same bytes, on one thread.

    python -m analysis.benchmark.aggregation

A client actor turns its clients' float32 values into exact fixed-point sums (`add`); the server adds up such sums
(`merge`), here in the hardest case of one client each. Both are compared with `total += values` over the same arrays.
Updates come from a pool larger than the processor's caches.
"""

import numpy as np

from analysis.benchmark.report import parser, show, take_turns
from fedra_ray.federation.aggregation import MaskedSum

UPDATES = 10_000
POOL = 100
SEGMENTS = [slice(43_008 * layer, 43_008 * (layer + 1)) for layer in range(12)]  # rank 8 at attn.proj and mlp.fc2


def main() -> None:
    """Measure, print and write."""
    arguments = parser(__doc__, "aggregation")
    arguments.set_defaults(repeats=3)
    settings = arguments.parse_args()
    values = np.random.default_rng(0).normal(0, 0.02, (POOL, SEGMENTS[-1].stop)).astype(np.float32)
    sums = []
    for update in values:
        sums.append(MaskedSum(SEGMENTS))
        sums[-1].add(range(len(SEGMENTS)), update)
    fixed = np.random.default_rng(1).integers(-(2**40), 2**40, values.shape)

    def add() -> None:
        total = MaskedSum(SEGMENTS)
        for number in range(UPDATES):
            total.add(range(len(SEGMENTS)), values[number % POOL])

    def merge() -> None:
        total = MaskedSum(SEGMENTS)
        for number in range(UPDATES):
            total.merge(sums[number % POOL])

    def numpy_sum(arrays: np.ndarray) -> None:
        total = np.zeros_like(arrays[0])
        for number in range(UPDATES):
            total += arrays[number % POOL]

    seconds = take_turns([add, merge, lambda: numpy_sum(values), lambda: numpy_sum(fixed)], settings.repeats)
    rows = []
    for name, ours, theirs, size in (
        ("add, on client actors", seconds[0], seconds[2], 4),
        ("merge, on the server", seconds[1], seconds[3], 8),
    ):
        gigabytes = UPDATES * SEGMENTS[-1].stop * size / 1e9
        rates = {"GB/s": gigabytes / ours, "numpy, GB/s": gigabytes / theirs}
        rows.append({"what": name, "seconds": ours, **rates, "share of numpy": theirs / ours})
    show(f"{UPDATES:,} updates of ViT-B/16's LoRA", rows, settings.out)


if __name__ == "__main__":
    main()
