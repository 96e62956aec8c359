"""Greedy generation by a sub-model, token by token."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tokens = NDArray[np.int32]


def greedy(
    scores: Callable[[Mapping[str, Tensor]], Tensor],
    prompts: Sequence[Tokens],
    end: int | None,
    padding: int,
    most: int,
) -> list[Tokens]:
    """The likeliest token after each prompt, and the likeliest after that, up to one that ends an answer.

    Every step runs the whole texts: there is no cache, which would depend on the blocks that a sub-model has.

    Args:
        scores: Gives scores (marked tokens, vocabulary), from `input_ids`, `attention_mask` and `answers` (n, tokens),
            the marks.
        prompts: The tokens of each.
        end: The token that ends an answer; None to go on to the end.
        padding: A token that fills up a batch.
        most: The most tokens of an answer.

    Returns:
        The tokens of every answer, with that of its end.
    """
    texts = [prompt.astype(np.int64) for prompt in prompts]
    going = list(range(len(texts)))
    for _ in range(most):
        if not going:
            break
        with torch.inference_mode():
            found = scores(_batch([texts[number] for number in going], padding)).argmax(dim=1).tolist()
        for number, token in zip(going, found, strict=True):
            texts[number] = np.append(texts[number], token)
        going = [number for number, token in zip(going, found, strict=True) if token != end]
    return [text[len(prompt) :].astype(np.int32) for text, prompt in zip(texts, prompts, strict=True)]


def _batch(texts: Sequence[NDArray[np.int64]], padding: int) -> dict[str, Tensor]:
    """Inputs padded on the right, of which the last token of every text is marked."""
    lengths = np.array([len(text) for text in texts])
    places = np.arange(lengths.max())
    mask = places < lengths[:, None]
    ids = np.full(mask.shape, padding, dtype=np.int64)
    ids[mask] = np.concatenate(texts)
    marks = places == lengths[:, None] - 1
    named = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "answers": marks}
    return {name: torch.from_numpy(array) for name, array in named.items()}
