"""A language model of transformers in the form of the project's stacks: a stem, blocks, a norm and a pooling."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedra_ray.model.text.families import Family
from fedra_ray.model.text.rows import in_rows


class TextStack(nn.Module):
    """The blocks of a language model, and around them its own forward pass, without a cache.

    That pass makes what blocks are given: embeddings with their positions, masks and rotary angles, once per batch.

    Args:
        trunk: The model of transformers without a head; its blocks and its norm move out of it.
        family: Says where they are.
        pooling: Which tokens' mean a head reads: first, mean (all that are no padding) or last.
        max_length: The most tokens of a text.
        place: Path of the model without a head in that with its own head; None to leave that head out.
        head: The own head, if its weights are not those of the embedding.

    Attributes:
        blocks: The blocks.
        norm: The norm behind them.
        num_features: Width of the tokens.
        own_head: Whether scores are those of the model's own head over its vocabulary, for every token that marks name.
        block_path: Path of the blocks in the plain model of transformers, which is the one with the own head, if any.
    """

    def __init__(
        self,
        trunk: nn.Module,
        family: Family,
        pooling: str,
        max_length: int,
        place: str | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(cast(nn.ModuleList, trunk.get_submodule(family.blocks)))
        for block in self.blocks:
            _use_linear(block)
            if family.weights:
                _return_tokens(block)
        self.norm = trunk.get_submodule(family.norm) if family.norm else nn.Identity()
        for path in (family.blocks, family.norm):
            if path:
                trunk.set_submodule(path, nn.Identity())
        self.trunk = trunk
        self.head = head
        self.own_head = place is not None
        self.block_path = f"{place}.{family.blocks}" if place else family.blocks
        self.family = family
        self.pooling = pooling
        self.max_length = max_length
        settings: Any = trunk.config
        settings.use_cache = False
        self.num_features = int(settings.hidden_size)
        self.vocabulary = int(settings.vocab_size)
        self._padding = settings.pad_token_id
        self._taken = ["input_ids", "attention_mask", "position_ids"]
        if (getattr(settings, "type_vocab_size", None) or 0) > 1:  # else a model knows no second text
            self._taken.append("token_type_ids")

    def forward_features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Tokens (texts, tokens, width) behind all blocks and the norm, by the forward pass of transformers.

        Args:
            inputs: `input_ids` and `attention_mask` (texts, tokens), padded on the right, or in place of the latter
                `position_ids`, which begin anew where another text begins in a row; `token_type_ids` of pairs, where
                the model knows these; others are for `marks`.
        """
        blocks = map(_WithWeights, self.blocks) if self.family.weights else self.blocks
        trunk = _replaced(self.trunk, self.family.blocks, nn.ModuleList(blocks))
        if self.family.norm:
            trunk = _replaced(trunk, self.family.norm, self.norm)
        taken = {name: inputs[name] for name in self._taken if name in inputs}
        return cast(Tensor, trunk(**taken).last_hidden_state)

    def marks(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Which tokens' mean a head reads, or which ones the own head does: booleans (texts, tokens).

        The own head reads those before the tokens of answers (`answers` of the inputs). Of texts that lie in rows they
        are booleans (texts, rows, tokens).
        """
        if self.own_head:
            return inputs["answers"]
        if "read" in inputs:
            return inputs["read"]
        mask = inputs["attention_mask"].bool()
        if self.pooling == "mean":
            return mask
        places = torch.arange(mask.shape[1], device=mask.device)
        chosen = mask.sum(1, keepdim=True) - 1 if self.pooling == "last" else 0
        return (places == chosen).expand(mask.shape)

    def in_rows(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Padded inputs laid end to end, if the model can tell texts in a row apart and that leaves less to compute."""
        attention = cast(Any, self.trunk).config._attn_implementation
        if self.family.shape != "bert" or attention != "sdpa":  # others would take the mask's booleans for numbers
            return inputs
        return in_rows(inputs, self.marks(inputs), self._padding + 1 if self.family.behind_padding else 0)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Features (texts, width) that a head reads, of the whole model; (marked tokens, width) with the own head."""
        return self.readout(self.forward_features(inputs), self.marks(inputs))

    def readout(self, tokens: Tensor, marks: Tensor) -> Tensor:
        """What a head reads of tokens (texts, tokens, width) that are marked by booleans (texts, tokens)."""
        return marked(tokens, marks) if self.own_head else marked_mean(tokens, marks)

    def token_scores(self, features: Tensor) -> Tensor:
        """Scores (n, vocabulary), in float32, that the own head gives to the tokens that may follow n features."""
        head: Any = self.head if self.head is not None else cast(Any, self.trunk).get_input_embeddings()
        return functional.linear(features.to(head.weight.dtype), head.weight, getattr(head, "bias", None)).float()

    def sample(self, texts: int, length: int) -> dict[str, Tensor]:
        """Inputs of made-up texts on the model's device; all but the first are padded, so that there are masks."""
        allowed = torch.arange(self.vocabulary)[torch.arange(self.vocabulary) != self._padding]
        ids = allowed.repeat(-(-texts * length // len(allowed)))[: texts * length].view(texts, length)
        mask = torch.ones_like(ids)
        mask[1:, -1] = 0
        device = next(self.parameters()).device
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        return inputs | {"answers": inputs["attention_mask"].bool()} if self.own_head else inputs


def marked(tokens: Tensor, marks: Tensor) -> Tensor:
    """The marked ones (n, width) of tokens (texts, tokens, width); `marks` are booleans (texts, tokens)."""
    return tokens.flatten(0, 1).index_select(0, marks.flatten().nonzero()[:, 0])


def marked_mean(tokens: Tensor, marks: Tensor) -> Tensor:
    """Mean (texts, width) of the marked ones of tokens (texts, tokens, width); `marks` are booleans (texts, tokens).

    Of texts in rows, tokens are (rows, tokens, width) and marks (texts, rows, tokens).
    """
    if marks.dim() > 2:
        marks = marks.flatten(1)
        return marks.to(tokens.dtype) @ tokens.flatten(0, 1) / marks.sum(1, keepdim=True)
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


class _WithWeights(nn.Module):
    """A block as its model calls it: attention weights, which nobody reads, come with the tokens."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return self.block(*args, **kwargs), None


def _return_tokens(block: nn.Module) -> None:
    """Have a block that returns tokens and attention weights return tokens alone; the names of its parts stay."""
    kind = type(block)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        return cast(Tensor, kind.forward(self, *args, **kwargs)[0])

    block.__class__ = type(kind.__name__, (kind,), {"forward": forward})


def _replaced(model: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """A copy of a model that shares all its modules but the one at a path."""
    shared = copy.copy(model)
    shared._modules = dict(model._modules)
    name, _, rest = path.partition(".")
    shared._modules[name] = _replaced(cast(nn.Module, model._modules[name]), rest, part) if rest else part
    return shared
