"""Stochastic gradient descent with momentum, by torch's functional interface.

`torch.optim.SGD` computes the same, but loads torch's compiler when it is made: a second, and 65 MB in every actor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class Descent:
    """Parameters in groups of one learning rate each, and their momentum.

    Args:
        groups: Learning rate and parameters of each group.
        momentum: Share of the last step that the next one keeps.
        weight_decay: Share of a parameter that is added to its gradient.
    """

    def __init__(
        self, groups: Sequence[tuple[float, Sequence[nn.Parameter]]], momentum: float, weight_decay: float
    ) -> None:
        self.groups = groups
        self.momentum, self.weight_decay = momentum, weight_decay
        self._buffers: dict[nn.Parameter, Tensor | None] = {}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters in the order of the groups."""
        return [parameter for _, parameters in self.groups for parameter in parameters]

    def zero_grad(self) -> None:
        """Set gradients to zero in place: what a step does not reach decays as what it does."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the gradients; a parameter without one stays."""
        for rate, parameters in self.groups:
            moved = [parameter for parameter in parameters if parameter.grad is not None]
            buffers = [self._buffers.get(parameter) for parameter in moved]
            sgd(
                list[Tensor](moved),
                [parameter.grad for parameter in moved if parameter.grad is not None],
                buffers,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=rate,
                dampening=0,
                nesterov=False,
                maximize=False,
            )
            self._buffers.update(zip(moved, buffers, strict=True))
