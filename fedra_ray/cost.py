"""What a client costs, by how many blocks it trains: bytes, arithmetic and memory, measured on the model itself.

Needs no data and no pre-trained weights. All blocks of a stack are alike, so a few runs of at most two blocks give a
law that is linear in the depth. The first block is apart: nothing before it is trained, so no gradient goes below it.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedra_ray.config import ExperimentConfig
from fedra_ray.errors import SettingError
from fedra_ray.submodel import SubModel

MEGABYTE = 10**6
VALUE_BYTES = 4  # of a trained value; what travels and what the optimiser keeps are float32


@dataclass(frozen=True)
class Part:
    """What a part of a sub-model costs. Parts add up.

    Attributes:
        parameters: Number of its trained values.
        frozen: Bytes of its frozen weights.
        forward: FLOPs of an image's forward pass.
        step: FLOPs of an image's forward and backward pass.
        saved: Bytes that are kept for the backward pass of an image.
        copies: Bytes that are kept for the backward pass of any batch: weights cast to another precision.
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
        """Bytes that a client gets each round, and that it sends back: its trained values, in float32."""
        return VALUE_BYTES * self.parameters(depth, heads)

    def step_flops(self, depth: int, heads: int = 1, idle: int = 0) -> int:
        """FLOPs of a training step for each of its images: forward and backward."""
        return self.part(depth, heads, idle).step

    def evaluation_flops(self, depth: int, heads: int = 1) -> int:
        """FLOPs of classifying an image."""
        return self.part(depth, heads).forward

    def memory(self, depth: int, batch_size: int, heads: int = 1, idle: int = 0) -> int:
        """Bytes at the peak of a training step, an estimate: what the process itself needs is not in it.

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
    found = [depth for depth in depths if depth is not None]
    if len(found) < len(depths):
        least = -(-cost.memory(1, batch_size) // MEGABYTE)
        allowed = f"not even one block fits {min(budgets_mb):g} MB: needs at least {least} MB"
        raise SettingError("fleet.memory_mb", list(budgets_mb), f"{allowed}, or a smaller training.batch_size")
    return found


def measure(model: SubModel, image_size: int, config: ExperimentConfig) -> CostModel:
    """The cost of the model's sub-models, from training steps of at most two blocks on images of noise.

    FLOPs are those of matrix products and convolutions, attention in its plain form. What autograd keeps is what it
    keeps on the model's device and in its precision.

    Args:
        model: Any adapted model that is not fused, so that its cost is that of the blocks as their authors wrote them;
            its trained values are set to their first ones.
        image_size: Side of an image in pixels.
        config: Of the experiment.
    """
    noise = torch.rand(3, 3, image_size, image_size, device=next(model.parameters()).device)
    bench = _Bench(model, noise)
    layers = (0, len(model.blocks) - 1)
    stem, one, two = (bench.observe(layers[:depth]) for depth in range(3))
    return CostModel(
        num_layers=len(model.blocks),
        stem=stem,
        first=one - stem,
        block=two - one,
        exit=bench.observe(layers, exits=2) - two,
        input_bytes=noise[0].nbytes,
        states=3 if config.training.momentum else 2,
    )


@dataclass(frozen=True)
class _Bench:
    """Training steps to be looked at: a model, and images (at least 3, 3, H, W)."""

    model: SubModel
    images: Tensor

    def observe(self, layers: Sequence[int], exits: int = 1) -> Part:
        """The cost of a step of these layers, with a head after each of the last `exits` of them."""
        model = self.model
        held = model.layout.held(layers, model.layout.head_names[-1:] * exits + model.layout.stem_names)
        model.load(model.layout.initial(0), held)
        model.train()
        sizes = [segment.stop - segment.start for segment in model.layout.segments]
        forward, step = self._flops(layers, exits)
        fewer, more = (
            self._kept(2, layers, exits),
            self._kept(3, layers, exits),
        )  # 1 has fewer copies: all is contiguous
        return Part(
            parameters=sum(sizes[index] for index in held),
            frozen=_frozen_bytes(model.backbone)
            - sum(map(_frozen_bytes, model.blocks))
            + sum(_frozen_bytes(model.blocks[layer]) for layer in layers),
            forward=forward,
            step=step,
            saved=more - fewer,
            copies=3 * fewer - 2 * more,
        )

    def _loss(self, images: Tensor, layers: Sequence[int], exits: int) -> Tensor:
        head = self.model.layout.head_names[-1]
        if exits == 1:
            scores = [self.model.logits(images, layers, head)]
        else:
            last = range(len(layers), len(layers) - exits, -1)
            scores = self.model.exit_logits(images, layers, [(depth, head) for depth in last])
        labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
        return torch.stack([functional.cross_entropy(score, labels) for score in scores]).sum()

    def _flops(self, layers: Sequence[int], exits: int) -> tuple[int, int]:
        """Of an image's forward pass, and of the whole step."""
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            loss = self._loss(self.images[:1], layers, exits)
            forward = counter.get_total_flops()
            loss.backward()
            return forward, counter.get_total_flops()

    def _kept(self, batch_size: int, layers: Sequence[int], exits: int) -> int:
        """Bytes of the storages that autograd keeps for a backward pass, other than the model's own."""
        own = {tensor.untyped_storage().data_ptr() for tensor in _tensors(self.model)}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            self._loss(self.images[:batch_size], layers, exits)
        return sum(size for address, size in kept.items() if address not in own)


def _frozen_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in _tensors(module) if not tensor.requires_grad)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
