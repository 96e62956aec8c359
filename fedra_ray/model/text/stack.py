"""A language model of transformers in the form of the project's stacks: a stem, blocks, a norm and a pooling."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from fedra_ray.model.text.families import Family


class TextStack(nn.Module):
    """The blocks of a language model, and around them its own forward pass, without a cache.

    That pass makes what blocks are given: embeddings with their positions, masks and rotary angles, once per batch.

    Args:
        trunk: The model of transformers without a head; its blocks and its norm move out of it.
        family: Says where they are.
        pooling: Which tokens' mean a head reads: first, mean (all that are no padding) or last.
        max_length: The most tokens of a text.

    Attributes:
        blocks: The blocks.
        norm: The norm behind them.
        num_features: Width of the tokens.
    """

    def __init__(self, trunk: nn.Module, family: Family, pooling: str, max_length: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(cast(nn.ModuleList, trunk.get_submodule(family.blocks)))
        for block in self.blocks:
            _use_linear(block)
        self.norm = trunk.get_submodule(family.norm) if family.norm else nn.Identity()
        for path in (family.blocks, family.norm):
            if path:
                trunk.set_submodule(path, nn.Identity())
        self.trunk = trunk
        self.family = family
        self.pooling = pooling
        self.max_length = max_length
        settings: Any = trunk.config
        settings.use_cache = False
        self.num_features = int(settings.hidden_size)
        self.vocabulary = int(settings.vocab_size)
        self._padding = settings.pad_token_id

    def forward_features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Tokens (texts, tokens, width) behind all blocks and the norm, by the forward pass of transformers.

        Args:
            inputs: `input_ids` and `attention_mask` (texts, tokens), padded on the right.
        """
        trunk = _replaced(self.trunk, self.family.blocks, nn.ModuleList(self.blocks))
        if self.family.norm:
            trunk = _replaced(trunk, self.family.norm, self.norm)
        return cast(Tensor, trunk(**inputs).last_hidden_state)

    def marks(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Which tokens' mean a head reads: booleans (texts, tokens)."""
        mask = inputs["attention_mask"].bool()
        if self.pooling == "mean":
            return mask
        places = torch.arange(mask.shape[1], device=mask.device)
        chosen = mask.sum(1, keepdim=True) - 1 if self.pooling == "last" else 0
        return (places == chosen).expand(mask.shape)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Features (texts, width) that a head reads, of the whole model."""
        return marked_mean(self.forward_features(inputs), self.marks(inputs))

    def sample(self, texts: int, length: int) -> dict[str, Tensor]:
        """Inputs of made-up texts on the model's device; all but the first are padded, so that there are masks."""
        allowed = torch.arange(self.vocabulary)[torch.arange(self.vocabulary) != self._padding]
        ids = allowed.repeat(-(-texts * length // len(allowed)))[: texts * length].view(texts, length)
        mask = torch.ones_like(ids)
        mask[1:, -1] = 0
        device = next(self.parameters()).device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def marked_mean(tokens: Tensor, marks: Tensor) -> Tensor:
    """Mean (texts, width) of the marked ones of tokens (texts, tokens, width); `marks` are booleans (texts, tokens)."""
    total = (marks.to(tokens.dtype)[:, None] @ tokens)[:, 0]
    return total / marks.sum(1, keepdim=True)


def _use_linear(block: nn.Module) -> None:
    """Put linear layers in place of GPT-2's own ones, which store their weights (inputs, outputs)."""
    for path, module in [*block.named_modules()]:
        if type(module).__name__ == "Conv1D":
            weight = cast(Tensor, module.weight).t().contiguous()
            linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            linear.weight, linear.bias = nn.Parameter(weight), cast(nn.Parameter, module.bias)
            block.set_submodule(path, linear)


def _replaced(model: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """A copy of a model that shares all its modules but the one at a path."""
    shared = copy.copy(model)
    shared._modules = dict(model._modules)
    name, _, rest = path.partition(".")
    shared._modules[name] = _replaced(cast(nn.Module, model._modules[name]), rest, part) if rest else part
    return shared
