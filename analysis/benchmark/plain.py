"""Local training as one would write it with timm and PEFT: what this project is measured against."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import build, create_model, find_targets

import peft  # isort: skip  (after fedra_ray.model, which prepares torchvision)

Step = Callable[[], float]


def adapted(config: BackboneConfig, classes: int, lora: LoraConfig) -> nn.Module:
    """A timm model with PEFT's LoRA, of which only the factors and the head are trained."""
    targets = list(find_targets(build(config), None))
    model = create_model(config.model, config.model_args)
    model.reset_classifier(classes)
    settings = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=lora.dropout)
    model = peft.inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith("head."))
    return model.train()


def sub_model(model: nn.Module, layers: Sequence[int]) -> nn.Module:
    """A copy of the model that has only these blocks."""
    blocks: Any = model.blocks
    model.blocks = nn.Identity()
    try:
        part = copy.deepcopy(model)
    finally:
        model.blocks = blocks
    part.blocks = nn.Sequential(*(copy.deepcopy(blocks[layer]) for layer in layers))
    return part


def compiled(model: nn.Module) -> nn.Module:
    """The model with torch.compile for each of its blocks, which compiles at the first call and shares the code."""
    for block in model.blocks:
        block.compile()
    return model


def step(model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """A function that takes a step of SGD on these images and returns the loss."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.01, momentum=0.9, weight_decay=1e-5)

    def take() -> float:
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return take
