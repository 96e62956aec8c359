"""Texts end to end in rows: less to compute than padded ones, where their lengths differ.

Tokens see none of another text, and every text begins at position 0 again; so values and gradients are the same, up to
rounding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

_ROOM = 2  # a row has about the length of so many of the longest text; attention's part grows with it
_WORTHWHILE = 0.95  # of the padded tokens; above that, rows only cost


def end_to_end(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Positions of texts in rows of at most so many tokens: the longest first, each in the first row that has room.

    Rows are in the order of the first text of each, so that the first ones are no other kind of texts than the rest.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for position in np.argsort(-np.array(lengths), kind="stable").tolist():
        row = next((number for number, free in enumerate(left) if free >= lengths[position]), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(position)
        left[row] -= lengths[position]
    return sorted(rows, key=min)


def balanced(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Positions of texts in so many rows of nearly equal length: the longest first, each in the shortest row so far."""
    rows: list[list[int]] = [[] for _ in range(count)]
    taken = [0] * count
    for position in np.argsort(-np.array(lengths), kind="stable").tolist():
        row = taken.index(min(taken))
        rows[row].append(position)
        taken[row] += lengths[position]
    return rows


def in_rows(inputs: Mapping[str, Tensor], read: Tensor, first: int) -> Mapping[str, Tensor]:
    """Texts for an encoder end to end in rows, or as they are, if rows would hardly have fewer tokens.

    Args:
        inputs: `input_ids` and `attention_mask` (texts, tokens), padded on the right, and perhaps `token_type_ids`.
        read: Which tokens' mean a head reads: booleans (texts, tokens).
        first: The position of a text's first token.

    Returns:
        The same by name (rows, tokens), with `position_ids`, a boolean `attention_mask` (rows, 1, tokens, tokens), and
        `read` as booleans (texts, rows, tokens).
    """
    mask = inputs["attention_mask"]
    texts, length = mask.shape
    lengths = mask.sum(1).tolist()
    rows = balanced(lengths, -(-sum(lengths) // (_ROOM * length)))
    width = max(sum(lengths[text] for text in row) for row in rows)
    if len(rows) * width > _WORTHWHILE * texts * length:
        return inputs
    source = torch.full((len(rows), width), -1)
    for number, row in enumerate(rows):
        places = [text * length + place for text in row for place in range(lengths[text])]
        source[number, : len(places)] = torch.tensor(places)
    source = source.to(mask.device)
    text, filled = source.div(length, rounding_mode="floor"), source >= 0  # the text of padding is -1
    laid = {name: inputs[name].flatten()[source] * filled for name in ("input_ids", "token_type_ids") if name in inputs}
    own = torch.arange(texts, device=mask.device)[:, None, None] == text
    return laid | {
        "position_ids": (source % length) * filled + first,
        "attention_mask": (text[:, None, :, None] == text[:, None, None, :]),
        "read": own & read.flatten()[source],
    }
