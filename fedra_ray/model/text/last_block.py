"""The last block of a language model, computed for the tokens alone that a head reads.

Of a block whose output is read at few tokens, most is never used: in encoders that are read at the first token, all
queries but one, and what follows from them; in decoders, the feed-forward layers at all tokens but the marked ones.
Values and gradients are those of the whole block, up to rounding.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedra_ray.model.text.stack import TextStack, marked


def is_shortened(stack: TextStack) -> bool:
    """Whether `read_tokens` knows the blocks of a model and how a head reads it."""
    if stack.family.shape == "bert":
        return stack.pooling == "first"
    return stack.family.shape == "llama" and (stack.own_head or stack.pooling == "last")


def read_tokens(
    stack: TextStack, block: nn.Module, tokens: Tensor, marks: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """The tokens (n, 1, width) behind a block that are marked, text by text.

    Args:
        stack: A model for which `is_shortened` is true.
        block: Its last block.
        tokens: What goes into it (texts, tokens, width).
        marks: Which tokens are read: booleans (texts, tokens), or (texts, rows, tokens) of texts in rows.
        args: Further arguments of the block.
        kwargs: The same by name.
    """
    if stack.family.shape == "bert":
        return _first_of_bert(cast(Any, block), tokens, args[0] if args else kwargs.get("attention_mask"), marks)
    parts = cast(Any, block)
    mixed, _ = parts.self_attn(*args, hidden_states=parts.input_layernorm(tokens), **kwargs)
    read = marked(tokens + mixed, marks)
    return cast(Tensor, (read + parts.mlp(parts.post_attention_layernorm(read)))[:, None])


def _first_of_bert(block: Any, tokens: Tensor, mask: Tensor | None, marks: Tensor) -> Tensor:
    """The first token of every text (texts, 1, width) behind a block of BERT's or RoBERTa's."""
    attention = block.attention.self
    first = tokens[:, :1]
    if marks.dim() > 2:
        _, row, place = marks.nonzero(as_tuple=True)
        first = tokens[row, place][:, None]

    def heads(values: Tensor) -> Tensor:
        return values.view(*values.shape[:2], -1, attention.attention_head_size).transpose(1, 2)

    query, key, value = (
        heads(layer(given))
        for layer, given in ((attention.query, first), (attention.key, tokens), (attention.value, tokens))
    )
    dropout = attention.dropout.p if attention.training else 0.0
    seen = None if mask is None else mask[:, :, :1]
    if marks.dim() > 2:
        key, value, seen = key[row], value[row], cast(Tensor, mask)[row, :, place][:, :, None]
    mixed = functional.scaled_dot_product_attention(query, key, value, seen, dropout, scale=attention.scaling)
    attended = block.attention.output(mixed.transpose(1, 2).flatten(2), first)
    return cast(Tensor, block.feed_forward_chunk(attended))


def all_read(tokens: Tensor) -> Tensor:
    """Marks (n, 1) of tokens (n, 1, width) that are all read."""
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
