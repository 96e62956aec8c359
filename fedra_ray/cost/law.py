"""What a client costs, by how many blocks it trains: bytes, arithmetic and memory, as `measure` finds them.

All blocks of a stack are alike, so the law is linear in the depth. The first trained block is apart: nothing before it
is trained, so no gradient goes below it.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from fedra_ray.config.errors import SettingError

MEGABYTE = 10**6
VALUE_BYTES = 4  # of a trained value; what travels and what the optimiser keeps are float32


@dataclass(frozen=True)
class Part:
    """What a part of a sub-model costs. Parts add up.

    Attributes:
        parameters: Number of its trained values.
        frozen: Bytes of its frozen weights.
        forward: FLOPs per image of a forward pass.
        step: FLOPs per image of a forward and backward pass.
        saved: Bytes per image that are kept for the backward pass.
        copies: Bytes per batch, of whatever size, that are kept for it: weights cast to another precision.
    """

    parameters: int
    frozen: int
    forward: int
    step: int
    saved: int
    copies: int

    def __add__(self, other: "Part") -> "Part":
        return Part(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Part") -> "Part":
        return self + -1 * other

    def __rmul__(self, factor: int) -> "Part":
        return Part(*(factor * value for value in astuple(self)))


@dataclass(frozen=True)
class CostModel:
    """The cost of any sub-model of a stack. FLOPs count a multiplication and an addition as two.

    Of its methods' arguments, `depth` is the number of trained blocks, `heads` that of classifiers, and `idle` that
    of further blocks that are run, or only held in memory, and not trained.

    Attributes:
        num_layers: Blocks of the full model.
        stem: The model without blocks: stem, readout and one head.
        first: The first trained block.
        block: Every further one.
        exit: A further readout and head, after an inner block.
        input_bytes: Bytes of an image as the model takes it.
        states: Values kept for a trained one: itself, its gradient and, where there is one, its momentum.
    """

    num_layers: int
    stem: Part
    first: Part
    block: Part
    exit: Part
    input_bytes: int
    states: int

    def part(self, depth: int, heads: int = 1, idle: int = 0) -> Part:
        """The whole sub-model."""
        total = self.stem + (heads - 1) * self.exit
        if depth:
            total += self.first + (depth - 1) * self.block
        passed = replace(self.first, parameters=0, step=self.first.forward, saved=0, copies=0)
        return total + idle * passed

    def parameters(self, depth: int, heads: int = 1) -> int:
        """Number of trained values."""
        return self.part(depth, heads).parameters

    def bytes(self, depth: int, heads: int = 1) -> int:
        """Bytes that a client receives per round, and that it sends back: its trained values, in float32."""
        return VALUE_BYTES * self.parameters(depth, heads)

    def step_flops(self, depth: int, heads: int = 1, idle: int = 0) -> int:
        """FLOPs per image of a training step: forward and backward."""
        return self.part(depth, heads, idle).step

    def evaluation_flops(self, depth: int, heads: int = 1) -> int:
        """FLOPs per image of a classification."""
        return self.part(depth, heads).forward

    def memory(self, depth: int, batch_size: int, heads: int = 1, idle: int = 0) -> int:
        """Bytes at the peak of a training step, an estimate without what the process itself needs.

        They are the frozen weights, the trained values with gradient and momentum, the batch, what autograd keeps
        for the backward pass, and an allowance for what a block computes and drops: as much again as a block keeps.
        """
        total = self.part(depth, heads, idle)
        image = self.input_bytes + total.saved + self.block.saved
        return total.frozen + total.copies + VALUE_BYTES * self.states * total.parameters + batch_size * image

    def depth_for_memory(self, budget_mb: float, batch_size: int) -> int | None:
        """The most blocks that train within a budget of megabytes (10^6 bytes); None if not even one does."""
        depths = range(1, self.num_layers + 1)
        return max((d for d in depths if self.memory(d, batch_size) <= budget_mb * MEGABYTE), default=None)


def depths_for_memory(cost: CostModel, budgets_mb: Sequence[float], batch_size: int) -> list[int]:
    """The depth of a client for each budget of `fleet.memory_mb`: as many blocks as train within it, with one head.

    Raises:
        SettingError: if not even one block fits the smallest budget.
    """
    depths = [cost.depth_for_memory(budget, batch_size) for budget in budgets_mb]
    possible = [depth for depth in depths if depth is not None]
    if len(possible) < len(depths):
        least = -(-cost.memory(1, batch_size) // MEGABYTE)
        allowed = f"not even one block fits {min(budgets_mb):g} MB: needs at least {least} MB"
        raise SettingError("fleet.memory_mb", list(budgets_mb), f"{allowed}, or a smaller training.batch_size")
    return possible
