"""The cost of a model's sub-models, measured on the model itself; needs no data and no pre-trained weights.

A few training steps of at most two blocks are enough, because the law (`fedra_ray.cost.law`) is linear in the depth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.law import CostModel, Part, depths_for_memory
from fedra_ray.federation.fleet import Fleet
from fedra_ray.methods.create import create_method
from fedra_ray.methods.method import Method
from fedra_ray.model.backbone import find_targets, input_size
from fedra_ray.model.kernels import unavailable
from fedra_ray.model.stack import sample_inputs
from fedra_ray.model.submodel import Inputs, SubModel

C = TypeVar("C", bound=ExperimentConfig)


def measure(model: SubModel, size: int, config: ExperimentConfig, stand_in: nn.Module | None = None) -> CostModel:
    """The cost of the model's sub-models, from training steps of at most two blocks on noise.

    FLOPs are those of matrix products and convolutions, attention in its plain form. What autograd keeps is what it
    keeps on the model's device and in its precision.

    Args:
        model: Any adapted model that is not fused, so that its cost is that of the blocks as their authors wrote them;
            its trained values are set to their first ones.
        size: Side of an image in pixels; texts have as many tokens as the model takes at most.
        config: Of the experiment.
        stand_in: The module that the method trains in the place of a block, if it does.
    """
    noise = sample_inputs(model.backbone, 3, size)
    bench = _Bench(model, noise)
    layers = (0, len(model.blocks) - 1)
    stem, one, two = (bench.observe(layers[:depth]) for depth in range(3))
    return CostModel(
        num_layers=len(model.blocks),
        stem=stem,
        first=one - stem,
        block=two - one,
        exit=bench.observe(layers, exits=2) - two,
        through=replace(bench.observe(layers, trained=layers[:1]) - one, frozen=(two - one).frozen),
        boundary=model.embed(_first(noise, 1)).tokens.nbytes,
        input_bytes=_input_bytes(_first(noise, 1)),
        states=3 if config.training.momentum else 2,
        stand_in=bench.stand_in(stand_in) if stand_in else CostModel.stand_in,
    )


@dataclass(frozen=True)
class _Bench:
    """Training steps to be looked at: a model, and at least three examples."""

    model: SubModel
    inputs: Inputs

    def observe(self, layers: Sequence[int], exits: int = 1, trained: Sequence[int] | None = None) -> Part:
        """The cost of a step of these layers, with a head after each of the last `exits` of them.

        Args:
            layers: The layers that are run.
            exits: How many heads there are.
            trained: Which of the layers are trained; None for all.
        """
        model = self.model
        held = model.layout.held(
            layers if trained is None else trained, model.layout.head_names[-1:] * exits + model.layout.extra_names
        )
        model.load(model.layout.initial(0), held)
        model.train()
        sizes = [segment.stop - segment.start for segment in model.layout.segments]
        frozen = _frozen_bytes(model.backbone) - sum(map(_frozen_bytes, model.blocks))
        frozen += sum(_frozen_bytes(model.blocks[layer]) for layer in layers)
        parameters = sum(sizes[index] for index in held)
        return self._part(parameters, frozen, lambda count: self._loss(count, layers, exits))

    def stand_in(self, module: nn.Module) -> Part:
        """The cost of a trained module that maps tokens to tokens, gradients through it included."""

        def loss(count: int) -> Tensor:
            return cast(Tensor, module(tokens[:count].clone().requires_grad_()).float().sum())

        tokens = self.model.embed(self.inputs).tokens.detach()
        return self._part(sum(parameter.numel() for parameter in module.parameters()), 0, loss)

    def _part(self, parameters: int, frozen: int, loss: Callable[[int], Tensor]) -> Part:
        """The cost of a step with this loss of so many examples."""
        forward, step = _flops(loss)
        fewer = self._kept(loss, 2)  # a batch of 1 would have fewer copies: all of it is contiguous
        more = self._kept(loss, 3)
        return Part(parameters, frozen, forward, step, saved=more - fewer, copies=3 * fewer - 2 * more)

    def _loss(self, count: int, layers: Sequence[int], exits: int) -> Tensor:
        inputs = _first(self.inputs, count)
        head = self.model.layout.head_names[-1]
        if exits == 1:
            scores = [self.model.logits(inputs, layers, head)]
        else:
            last = range(len(layers), len(layers) - exits, -1)
            scores = self.model.exit_logits(inputs, layers, [(depth, head) for depth in last])
        labels = torch.zeros(len(scores[0]), dtype=torch.long, device=scores[0].device)
        return torch.stack([functional.cross_entropy(score, labels) for score in scores]).sum()

    def _kept(self, loss: Callable[[int], Tensor], count: int) -> int:
        """Bytes of the storages that autograd keeps for a backward pass, other than the model's own."""
        own = {tensor.untyped_storage().data_ptr() for tensor in _tensors(self.model)}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss(count)
        return sum(size for address, size in kept.items() if address not in own)


def _flops(loss: Callable[[int], Tensor]) -> tuple[int, int]:
    """FLOPs of an example's forward pass, and of its whole step."""
    unavailable()  # tries the kernels, once in a process: their products do not count
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        one = loss(1)
        forward = counter.get_total_flops()
        if one.requires_grad:  # a frozen head alone has nothing to train
            one.backward()
        return forward, counter.get_total_flops()


def _first(inputs: Inputs, count: int) -> Inputs:
    """The first examples of a batch."""
    return inputs[:count] if isinstance(inputs, Tensor) else {name: value[:count] for name, value in inputs.items()}


def _input_bytes(inputs: Inputs) -> int:
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
    return sum(tensor.nbytes for tensor in tensors)


def _frozen_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in _tensors(module) if not tensor.requires_grad)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def cost_model(backbone: nn.Module, config: ExperimentConfig, classes: int, method: Method | None = None) -> CostModel:
    """What sub-models of a backbone cost in an experiment; the values of its weights do not matter.

    Args:
        backbone: In the precision of training; it gets LoRA.
        config: The experiment.
        classes: Number of classes of the head.
        method: Says what it trains in the place of blocks, whatever the depths of its clients; None if nothing.
    """
    targets = find_targets(backbone, config.lora.targets)
    model = SubModel(backbone, targets, config.lora, ("head",), classes, fused=False)
    stand_in = None
    if method is not None and method.stand_in_names:
        stand_in = method.extra_modules(int(cast(int, backbone.num_features)))[method.stand_in_names[0]]
    return measure(model, input_size(backbone), config, stand_in)


def priced(config: C, backbone: nn.Module, domains: tuple[str, ...], classes: int) -> tuple[C, CostModel]:
    """The configuration with the depths that its memory budgets allow, if it has any, and what sub-models cost.

    Args:
        config: The experiment.
        backbone: In the precision of training; it gets LoRA.
        domains: Names of the domains.
        classes: Number of classes of the head.

    Raises:
        SettingError: if the method refuses something, or not even one block fits a budget.
    """
    num_layers, budgets = len(cast(nn.ModuleList, backbone.blocks)), config.fleet.memory_mb
    deepest = replace(config.fleet, depths=[num_layers] * len(budgets)) if budgets else config.fleet
    any_depth = replace(config, fleet=deepest)
    method = create_method(any_depth, num_layers, Fleet(any_depth, domains))
    cost = cost_model(backbone, config, classes, method)
    return _with_depths(config, cost, method), cost


def _with_depths(config: C, cost: CostModel, method: Method) -> C:
    """The configuration with the depths that its memory budgets allow, if it has any."""
    if config.fleet.memory_mb is None:
        return config
    regime = config.submodel.name if config.submodel.target else "absent"
    depths = depths_for_memory(
        cost,
        config.fleet.memory_mb,
        config.training.batch_size,
        regime,
        lambda depth: len({*method.named(range(depth))} & {*method.stand_in_names}),
    )
    return replace(config, fleet=replace(config.fleet, depths=depths))
