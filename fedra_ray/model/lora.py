"""Low-rank adaptation of frozen layers, in plain PyTorch; `fedra_ray.model.fused` computes the same in less time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedra_ray.config.schema import LoraConfig


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trained product of rank r: y = W x + b + (alpha / r) B A dropout(x).

    LoRA (Hu et al., arXiv 2106.09685, equation 3) with PEFT's dropout. The factors stay float32 when the frozen layer
    is bfloat16.

    Args:
        base: The frozen layer.
        config: Rank r, alpha and dropout.

    Attributes:
        lora_A: The factor A (r, in_features).
        lora_B: The factor B (out_features, r).
    """

    def __init__(self, base: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.empty(config.rank, base.in_features))
        self.lora_B = nn.Parameter(torch.empty(base.out_features, config.rank))
        self.scaling = config.alpha / config.rank
        self.dropout = config.dropout

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        dropped = functional.dropout(inputs, self.dropout, self.training)
        low = functional.linear(dropped, self.lora_A.to(inputs.dtype))
        adapted: Tensor = self.base(inputs) + self.scaling * functional.linear(low, self.lora_B.to(inputs.dtype))
        return adapted


class LoraConv2d(nn.Module):
    """`LoraLinear` around a frozen convolution, as PEFT does it.

    Args:
        base: The frozen convolution.
        config: Rank r, alpha and dropout.

    Attributes:
        lora_A: The factor A (r, in_channels, height, width), a convolution like the frozen one with r outputs.
        lora_B: The factor B (out_channels, r, 1, 1), a 1 x 1 convolution.
    """

    def __init__(self, base: nn.Conv2d, config: LoraConfig) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.empty(config.rank, *base.weight.shape[1:]))
        self.lora_B = nn.Parameter(torch.empty(base.out_channels, config.rank, 1, 1))
        self.scaling = config.alpha / config.rank
        self.dropout = config.dropout

    def forward(self, images: Tensor) -> Tensor:
        """Map (images, in_channels, H, W) to (images, out_channels, rows, columns)."""
        inputs = functional.dropout(images, self.dropout, self.training)
        low = functional.conv2d(inputs, self.lora_A.to(images.dtype), None, self.base.stride, self.base.padding)
        adapted: Tensor = self.base(images) + self.scaling * functional.conv2d(low, self.lora_B.to(images.dtype))
        return adapted
