"""Labelled texts as training and evaluation take them: in padded batches of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fedra_ray.data.source import Skipped
from fedra_ray.data.text.dataset import InstructionDataset, TextDataset, Tokens
from fedra_ray.model.submodel import Batch
from fedra_ray.model.text.rows import end_to_end

Indices = NDArray[np.int64]

_BUCKET = 8  # batches are padded to a multiple of so many tokens


@dataclass
class TextExamples:
    """Labelled texts of one client, or of one domain's evaluation.

    Attributes:
        dataset: The data set.
        split: train, validation or test.
        parts: Pairs of a domain and indices of texts within its split.
        device: Where to compute.
        max_length: The most tokens of a batch.
        skipped: None: every text that is there can be read.
    """

    dataset: TextDataset
    split: str
    parts: Sequence[tuple[str, Indices]]
    device: torch.device
    max_length: int
    skipped: set[Skipped] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._tokens = [
            tokens for domain, indices in self.parts for tokens in self.dataset.tokens(domain, self.split, indices)
        ]
        self._labels = np.concatenate(
            [self.dataset.labels(domain, self.split)[indices] for domain, indices in self.parts]
        )
        firsts = [self.dataset.first_lengths(domain, self.split, indices) for domain, indices in self.parts]
        told = [each for each in firsts if each is not None]
        self._firsts = np.concatenate(told) if told else None

    def __len__(self) -> int:
        return len(self._tokens)

    def in_turn(self, batch_size: int) -> list[Indices]:
        """Positions of batches that go through all texts once, the shortest first, so that little is padding."""
        order = np.argsort([len(tokens) for tokens in self._tokens], kind="stable")
        return np.split(order, range(batch_size, len(order), batch_size))

    def batches(self, order: Sequence[Indices]) -> Iterator[Batch]:
        """Tokens, masks and labels (n,) of every array of positions.

        `input_ids` and `attention_mask` (n, tokens) are padded on the right to the longest text, and on to the next
        multiple of eight, so that few shapes occur. Of pairs, `token_type_ids` is 1 for the second text.
        """
        for positions in order:
            if len(positions):
                yield Batch(self._inputs(positions), torch.from_numpy(self._labels[positions]).to(self.device))

    def _inputs(self, positions: Indices) -> dict[str, Tensor]:
        inputs = padded([self._tokens[position] for position in positions], self.dataset.padding, self.max_length)
        if self._firsts is not None:
            places = torch.arange(inputs["input_ids"].shape[1])
            second = places >= torch.from_numpy(self._firsts[positions])[:, None]
            inputs["token_type_ids"] = second.long() * inputs["attention_mask"]
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}


@dataclass
class AnswerExamples(TextExamples):
    """Prompts with their answers, of one client, or of one domain's evaluation.

    For training, several texts lie end to end in a row where the longest one of a batch leaves room: there is less to
    compute, and as tokens see none of another text, loss and gradients are the same but for rounding.
    """

    dataset: InstructionDataset

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = [self.dataset.prompt_lengths(domain, self.split, indices) for domain, indices in self.parts]
        self._prompts = np.concatenate(parts)

    def batches(self, order: Sequence[Indices]) -> Iterator[Batch]:
        """As of other texts, with `answers` (n, tokens): whether a token stands before one of an answer.

        The labels are these tokens of answers, row by row. Those of prompts have none (-100 in transformers). Rows of
        several texts have `position_ids`, which begin anew with every text, in place of `attention_mask`.
        """
        for positions in order:
            if len(positions):
                lengths = [len(self._tokens[position]) for position in positions]
                rows = end_to_end(lengths, padded_length(lengths, self.max_length))
                few = self.split == "train" and len(rows) < len(positions)
                inputs = self._packed([positions[row] for row in rows]) if few else self._marked(positions)
                yield Batch(inputs, inputs["input_ids"].roll(-1, dims=1)[inputs["answers"]])

    def _marked(self, positions: Indices) -> dict[str, Tensor]:
        """One text in a row."""
        inputs = self._inputs(positions)
        begin = torch.from_numpy(np.maximum(self._prompts[positions], 1)).to(self.device)[:, None]
        follows = torch.arange(1, inputs["input_ids"].shape[1] + 1, device=self.device)
        return inputs | {"answers": (follows >= begin) & (follows < inputs["attention_mask"].sum(1, keepdim=True))}

    def _packed(self, rows: Sequence[Indices]) -> dict[str, Tensor]:
        """Several texts in a row."""
        lengths = [sum(len(self._tokens[position]) for position in row) for row in rows]
        shape = len(rows), padded_length(lengths, self.max_length)
        ids = np.full(shape, self.dataset.padding, dtype=np.int64)
        places = np.tile(np.arange(shape[1]), (len(rows), 1))
        answers = np.zeros(shape, dtype=bool)
        for number, row in enumerate(rows):
            start = 0
            for position in row:
                stop = start + len(self._tokens[position])
                ids[number, start:stop] = self._tokens[position]
                answers[number, start + max(int(self._prompts[position]), 1) - 1 : stop - 1] = True
                places[number, stop:] -= stop - start  # what comes next, a text or padding, begins anew
                start = stop
        inputs = {"input_ids": ids, "position_ids": places, "answers": answers}
        return {name: torch.from_numpy(values).to(self.device) for name, values in inputs.items()}


def padded(texts: Sequence[Tokens], padding: int, max_length: int) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` (n, tokens) of texts, padded on the right.

    Args:
        texts: Tokens of each.
        padding: The token that fills up.
        max_length: No more tokens than that are padded to.
    """
    lengths = np.array([len(tokens) for tokens in texts])
    mask = np.arange(padded_length(lengths, max_length)) < lengths[:, None]
    ids = np.full(mask.shape, padding, dtype=np.int64)
    ids[mask] = np.concatenate(texts)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def padded_length(lengths: ArrayLike, max_length: int) -> int:
    """Tokens that texts of these lengths are padded to, so that few lengths occur."""
    return min(-(-int(np.max(lengths)) // _BUCKET) * _BUCKET, max_length)
