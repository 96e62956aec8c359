"""Labelled texts as training and evaluation take them: in padded batches of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedra_ray.data.source import Skipped
from fedra_ray.data.text.dataset import InstructionDataset, TextDataset, Tokens
from fedra_ray.model.submodel import Batch

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
    """Prompts with their answers, of one client, or of one domain's evaluation."""

    dataset: InstructionDataset

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = [self.dataset.prompt_lengths(domain, self.split, indices) for domain, indices in self.parts]
        self._prompts = np.concatenate(parts)

    def batches(self, order: Sequence[Indices]) -> Iterator[Batch]:
        """As of other texts, with `answers` (n, tokens): whether a token stands before one of an answer.

        The labels are these tokens of answers, text by text. Those of prompts have none (-100 in transformers).
        """
        for positions in order:
            if len(positions):
                inputs = self._inputs(positions)
                ids = inputs["input_ids"]
                begin = torch.from_numpy(np.maximum(self._prompts[positions], 1)).to(self.device)[:, None]
                follows = torch.arange(1, ids.shape[1] + 1, device=self.device)
                answers = (follows >= begin) & (follows < inputs["attention_mask"].sum(1, keepdim=True))
                labels = ids.roll(-1, dims=1)[answers]
                yield Batch(inputs | {"answers": answers}, labels)


def padded(texts: Sequence[Tokens], padding: int, max_length: int) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` (n, tokens) of texts, padded on the right.

    Args:
        texts: Tokens of each.
        padding: The token that fills up.
        max_length: No more tokens than that are padded to.
    """
    lengths = np.array([len(tokens) for tokens in texts])
    length = min(-(-int(lengths.max()) // _BUCKET) * _BUCKET, max_length)
    mask = np.arange(length) < lengths[:, None]
    ids = np.full(mask.shape, padding, dtype=np.int64)
    ids[mask] = np.concatenate(texts)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
