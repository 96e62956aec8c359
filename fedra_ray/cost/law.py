"""What a client costs, by how many blocks it trains: bytes, arithmetic and memory, as `measure` finds them.

All blocks of a stack are alike, so the law is linear in the depth. The first trained block is apart: nothing before it
is trained, so no gradient goes below it.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.traffic import VALUE_BYTES

MEGABYTE = 10**6


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


class Passed(NamedTuple):
    """What a sub-model runs, or only holds in memory, beside the blocks that it trains.

    Attributes:
        before: How many lie before the first trained block: no gradient reaches them.
        behind: How many lie behind it: gradients go through them.
        streamed: Whether only one of them is in memory at a time, loaded when it is run. Then those behind keep their
            inputs alone, and are run once more in the backward pass.
        recomputed: Whether that holds for the trained blocks too, so that no more than one block is in memory at all.
        stand_ins: How many small modules are trained in the place of blocks, or beside them.
        partial: How many of the first trained blocks get gradients from a part of the images alone. One of them at a
            time is in memory, and is run once more for those images, whose inputs are kept.
        share: That part.
    """

    before: int = 0
    behind: int = 0
    streamed: bool = False
    recomputed: bool = False
    stand_ins: int = 0
    partial: int = 0
    share: float = 1.0


NONE = Passed()


@dataclass(frozen=True)
class CostModel:
    """The cost of any sub-model of a stack. FLOPs count a multiplication and an addition as two.

    Of its methods' arguments, `depth` is the number of trained blocks, `heads` that of classifiers, and `passed` is
    what else is run.

    Attributes:
        num_layers: Blocks of the full model.
        stem: The model without blocks: stem, readout and one head.
        first: The first trained block.
        block: Every further one.
        exit: A further readout and head, after an inner block.
        through: A block behind the first trained one that gradients go through, and that is not trained.
        boundary: Bytes per image between two blocks.
        input_bytes: Bytes of an image as the model takes it.
        states: Values kept for a trained one: itself, its gradient and, where there is one, its momentum.
        stand_in: A module that a method trains in the place of a block.
    """

    num_layers: int
    stem: Part
    first: Part
    block: Part
    exit: Part
    through: Part
    boundary: int
    input_bytes: int
    states: int
    stand_in: Part = Part(0, 0, 0, 0, 0, 0)

    def part(self, depth: int, heads: int = 1, passed: Passed = NONE) -> Part:
        """The whole sub-model."""
        total = self.stem + (heads - 1) * self.exit
        if passed.partial:
            early = self._partial(self.first, passed.share) + (passed.partial - 1) * self._partial(
                self.block, passed.share
            )
            total += early + (depth - passed.partial) * self.block + Part(0, self.block.frozen, 0, 0, 0, 0)
        elif depth:
            total += self._trained(self.first, passed) + (depth - 1) * self._trained(self.block, passed)
            total += passed.recomputed * Part(0, self.block.frozen, 0, 0, self.block.saved, self.block.copies)
        total += passed.stand_ins * self.stand_in
        before = replace(self.first, parameters=0, step=self.first.forward, saved=0, copies=0)
        if not passed.streamed:
            return total + passed.before * before + passed.behind * self.through
        again = self.through.step + self.through.forward
        behind = replace(self.through, step=again, saved=self.boundary, frozen=0, copies=0)
        one = self.through.frozen if passed.before + passed.behind and not (depth and passed.recomputed) else 0
        total += passed.before * replace(before, frozen=0) + passed.behind * behind
        return replace(total, frozen=total.frozen + one)

    def _trained(self, block: Part, passed: Passed) -> Part:
        """A trained block; recomputed, it keeps its input, and its weights are not in memory between its two runs."""
        if not passed.recomputed:
            return block
        return replace(block, frozen=0, step=block.step + block.forward, saved=self.boundary, copies=0)

    def _partial(self, block: Part, share: float) -> Part:
        """A trained block that a share of the images gives gradients; those run it twice, and keep its input."""
        step, saved = block.forward + round(share * block.step), round(share * self.boundary)
        return replace(block, frozen=0, step=step, saved=saved, copies=0)

    def parameters(self, depth: int, heads: int = 1, passed: Passed = NONE) -> int:
        """Number of trained values."""
        return self.part(depth, heads, passed).parameters

    def step_flops(self, depth: int, heads: int = 1, passed: Passed = NONE) -> int:
        """FLOPs per image of a training step: forward and backward."""
        return self.part(depth, heads, passed).step

    def evaluation_flops(self, depth: int, heads: int = 1) -> int:
        """FLOPs per image of a classification."""
        return self.part(depth, heads).forward

    def memory(self, depth: int, batch_size: int, heads: int = 1, passed: Passed = NONE) -> int:
        """Bytes at the peak of a training step, an estimate without what the process itself needs.

        They are the frozen weights, the trained values with gradient and momentum, the batch, what autograd keeps
        for the backward pass, and an allowance for what a block computes and drops: as much again as a block keeps.
        """
        total = self.part(depth, heads, passed)
        image = self.input_bytes + total.saved + self.block.saved
        return total.frozen + total.copies + VALUE_BYTES * self.states * total.parameters + batch_size * image

    def client_memory(self, depth: int, batch_size: int, regime: str, stand_ins: int = 0) -> int:
        """`memory` of a client with one head in a regime, at most: all other blocks may lie behind its first one.

        Args:
            depth: How many blocks it trains.
            batch_size: Images per step.
            regime: What happens to the others: absent, frozen, streamed or recomputed.
            stand_ins: How many stand-ins it trains.
        """
        others = 0 if regime == "absent" else self.num_layers - depth
        recomputed = regime == "recomputed"
        passed = Passed(0, others, recomputed or regime == "streamed", recomputed, stand_ins)
        return self.memory(depth, batch_size, passed=passed)


def depths_for_memory(
    cost: CostModel,
    budgets_mb: Sequence[float],
    batch_size: int,
    regime: str = "absent",
    stand_ins: Callable[[int], int] = lambda _: 0,
) -> list[int]:
    """The depth of a client for each budget of `fleet.memory_mb`: as many blocks as train within it, with one head.

    Args:
        cost: What sub-models cost.
        budgets_mb: Budgets in megabytes (10^6 bytes).
        batch_size: Images per step.
        regime: What happens to the blocks that a client does not train: absent, frozen, streamed or recomputed.
        stand_ins: How many stand-ins a client of a depth trains.

    Raises:
        SettingError: if not even one block fits the smallest budget.
    """
    needed = {d: cost.client_memory(d, batch_size, regime, stand_ins(d)) for d in range(1, cost.num_layers + 1)}
    depths = [max((d for d in needed if needed[d] <= budget * MEGABYTE), default=None) for budget in budgets_mb]
    possible = [depth for depth in depths if depth is not None]
    if len(possible) < len(depths):
        least = -(-min(needed.values()) // MEGABYTE)
        allowed = f"not even one block fits {min(budgets_mb):g} MB: needs at least {least} MB"
        raise SettingError("fleet.memory_mb", list(budgets_mb), f"{allowed}, or a smaller training.batch_size")
    return possible
