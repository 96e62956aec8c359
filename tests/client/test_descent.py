import pytest
import torch
from torch import nn

from fedra_ray.client.descent import Descent


def some(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.01)])
def test_steps_are_those_of_the_optimiser_of_torch(momentum: float, weight_decay: float) -> None:
    shapes: list[tuple[int, ...]] = [(3, 4), (4,), (2, 2)]
    own, others = some(shapes), some(shapes)
    descent = Descent([(0.1, own[:2]), (0.03, own[2:])], momentum, weight_decay)
    groups = [{"params": others[:2], "lr": 0.1}, {"params": others[2:], "lr": 0.03}]
    optimiser = torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay)
    for step in range(5):
        descent.zero_grad()
        optimiser.zero_grad(set_to_none=False)
        for parameters in (own, others):
            reached = parameters if step else parameters[1:]
            sum((parameter**2).sum() * (step + 1) for parameter in reached).backward()  # type: ignore[union-attr]
        descent.step()
        optimiser.step()
        assert all(torch.equal(first, second) for first, second in zip(own, others, strict=True))


def test_a_parameter_without_a_gradient_stays() -> None:
    still, moved = some([(2,), (2,)])
    before = still.detach().clone()
    descent = Descent([(0.1, [still]), (0.1, [moved])], momentum=0.9, weight_decay=0.5)
    moved.sum().backward()
    descent.step()
    assert torch.equal(still, before)
    assert descent.parameters == [still, moved]


def test_gradients_become_zero_where_they_lie() -> None:
    (parameter,) = some([(2,)])
    parameter.sum().backward()
    gradient = parameter.grad
    Descent([(0.1, [parameter])], 0.0, 0.0).zero_grad()
    assert parameter.grad is gradient
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [0.0, 0.0]
