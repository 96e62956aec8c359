"""One block in place of several: frozen weights of their own, and the LoRA factors of one of them."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_FACTORS = ("lora_A", "lora_B")


def merged_block(blocks: Sequence[nn.Module], members: Sequence[int], beta: float) -> nn.Module:
    """A block whose frozen values are v_a + beta * sum over the members j of (v_j - v_a), where a is the first member.

    It shares LoRA factors, their gradients, and the source of dropout with block a.

    Args:
        blocks: The stack.
        members: Indices of the blocks that it stands for, ascending.
        beta: How far it goes from the first member towards each of the others.
    """
    first, *others = (blocks[member] for member in members)
    if not others:
        return first
    shared = [value for name, value in first.named_parameters() if name.endswith(_FACTORS)]
    noise = [module.noise for module in first.modules() if hasattr(module, "noise")]
    merged = copy.deepcopy(first, {id(each): each for each in [*shared, *noise]})
    tensors = [frozen(block) for block in others]
    for name, value in frozen(merged).items():
        change = sum((other[name].float() - value.float() for other in tensors), torch.zeros((), device=value.device))
        value.data = (value.float() + beta * change).to(value.dtype)
    return merged


def cosines(blocks: Sequence[nn.Module]) -> Tensor:
    """The cosine (blocks, blocks) of the frozen weight matrices of every two blocks, each taken as one vector."""
    vectors = [
        torch.cat([value.detach().flatten().double() for value in frozen(block).values() if value.ndim > 1])
        for block in blocks
    ]
    norms = [vector.norm() for vector in vectors]
    rows = [
        torch.stack([one @ other / (own * its) for other, its in zip(vectors, norms, strict=True)])
        for one, own in zip(vectors, norms, strict=True)
    ]
    return torch.stack(rows)


def frozen(block: nn.Module) -> Mapping[str, nn.Parameter]:
    """The parameters of a block that are not LoRA factors, by name."""
    return {name: value for name, value in block.named_parameters() if not name.endswith(_FACTORS)}
