"""A cost law of small numbers, for sums by hand."""

from fedra_ray.cost.law import CostModel, Part

#: Bytes made up so that sums can be done by hand: a frozen megabyte a block, a trained kilovalue, saved hundreds.
BY_HAND = CostModel(
    num_layers=4,
    stem=Part(parameters=500, frozen=300_000, forward=10, step=12, saved=50, copies=0),
    first=Part(parameters=1000, frozen=1_000_000, forward=100, step=250, saved=400, copies=7),
    block=Part(parameters=1000, frozen=1_000_000, forward=100, step=300, saved=900, copies=7),
    exit=Part(parameters=500, frozen=0, forward=1, step=3, saved=60, copies=0),
    through=Part(parameters=0, frozen=1_000_000, forward=100, step=200, saved=800, copies=7),
    boundary=40,
    input_bytes=48,
    states=3,
)
