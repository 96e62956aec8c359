"""FedBRICK's stand-in for a block. Imported where models are, as it needs torch."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Brick(nn.Module):
    """E(x) = x * softmax(B1 A1 x) + B2 A2 x + x, token by token; the product with the softmax is by channel.

    A1 and A2 are (rank, width), B1 and B2 (width, rank): 24,576 values at width 768 and rank 8.

    Args:
        width: Width of the tokens.
        rank: Of both pairs.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.a1, self.a2 = (nn.Parameter(torch.zeros(rank, width)) for _ in range(2))
        self.b1, self.b2 = (nn.Parameter(torch.zeros(width, rank)) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (images, tokens, width) to what stands for the block's output, of the same shape and type."""
        a1, b1, a2, b2 = (each.to(tokens.dtype) for each in (self.a1, self.b1, self.a2, self.b2))
        gate = functional.linear(functional.linear(tokens, a1), b1).softmax(dim=-1)
        return tokens * gate + functional.linear(functional.linear(tokens, a2), b2) + tokens
