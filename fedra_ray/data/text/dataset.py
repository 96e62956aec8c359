"""Labelled texts as tokens of a language model."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import BackboneConfig, DatasetConfig
from fedra_ray.data.classes import check_number
from fedra_ray.data.dataset import Labelled

_AT_ONCE = 4096  # texts that are handed to the tokenizer together

#: The tokens of a text (tokens,).
Tokens = NDArray[np.int32]


class TextDataset(Labelled):
    """Labelled texts of the same classes in several domains.

    A subclass takes `root`, `tokenizer` (a folder or the hub's name), `max_length` (tokens) and its own options as
    keyword arguments.

    Attributes:
        padding: The token that fills up a batch.
        most: The number of tokens of the longest text.
        largest: The largest token.
    """

    noun = "texts"
    padding: int
    most: int
    largest: int

    @abstractmethod
    def tokens(self, domain: str, split: str, indices: NDArray[np.int64]) -> list[Tokens]:
        """Tokens of texts of a domain and split; every text has at least one, and at most `max_length`.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
            indices: Indices (n,) within the domain and split, in any order.
        """

    def first_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Where the second of two texts begins (n,), if texts are pairs of which a model is told; None if not.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
            indices: Indices (n,) within the domain and split, in any order.
        """
        return None


class InstructionDataset(TextDataset):
    """Prompts and their answers, which a language model with its own head is tuned to give; classes are optional.

    The tokens of a text are those of a prompt and then those of its answer.

    Attributes:
        template: How a prompt is put, with {prompt} and {context} in it; None for the tokenizer's own way.
    """

    noun = "answers"
    template: str | None

    @abstractmethod
    def prompt_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the tokens of texts are those of the prompt (n,); at least one follows.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
            indices: Indices (n,) within the domain and split, in any order.
        """


class TokenStore:
    """The tokens of many texts, in two arrays that processes of a node can share.

    Args:
        parts: The tokens of each.

    Attributes:
        lengths: Number of tokens of every text (texts,).
        largest: The largest token.
    """

    def __init__(self, parts: Sequence[Tokens]) -> None:
        self._flat = np.concatenate([np.empty(0, dtype=np.int32), *parts])
        self.lengths = np.array([len(part) for part in parts], dtype=np.int64)
        self._starts = np.cumsum([0, *self.lengths])
        self.largest = int(self._flat.max(initial=0))

    def __getitem__(self, number: int) -> Tokens:
        return self._flat[self._starts[number] : self._starts[number + 1]]


class Tokenized(TokenStore):
    """Texts as tokens.

    Args:
        texts: The texts.
        tokenizer: A folder or the hub's name of the model whose tokenizer makes them.
        max_length: The most tokens of a text; what is longer loses its end, and of a pair the longer one does.
        pairs: A text that follows each; None if none does.

    Attributes:
        padding: The token that fills up a batch.
        firsts: Number of tokens of the first text of every pair, in the way of a tokenizer that tells them apart
            (texts,); None without pairs.

    Raises:
        SettingError: if there is no such tokenizer.
    """

    def __init__(
        self, texts: Sequence[str], tokenizer: str, max_length: int, pairs: Sequence[str] | None = None
    ) -> None:
        from fedra_ray.model.text.sources import load_tokenizer  # imports transformers: seconds

        encoder = load_tokenizer(tokenizer)
        parts: list[Tokens] = []
        firsts: list[int] = []
        for start in range(0, len(texts), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            kinds = {} if pairs is None else {"text_pair": list(pairs[part]), "return_token_type_ids": True}
            wanted = {"truncation": True, "max_length": max_length, "return_attention_mask": False}
            encoded = encoder(list(texts[part]), **{"return_token_type_ids": False} | wanted | kinds)
            parts += [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]
            firsts += [types.count(0) for types in encoded.get("token_type_ids", [])]
        super().__init__(parts)
        self.padding = padding_of(encoder)
        self.firsts = None if pairs is None else np.array(firsts, dtype=np.int64)


def padding_of(encoder: Any) -> int:
    """The token by which a tokenizer of transformers fills up batches; of what is masked, any will do."""
    known = (encoder.pad_token_id, encoder.eos_token_id, 0)
    return int(next(token for token in known if token is not None))


def open_texts(config: DatasetConfig, backbone: BackboneConfig, max_length: int) -> TextDataset:
    """The configured data set of texts, for a model with a head that fits it.

    Args:
        config: Its class, root and options.
        backbone: The language model, which has the tokenizer.
        max_length: The most tokens of a text.

    Raises:
        SettingError: as `tokenised`, or if the model has another head than such texts need.
    """
    dataset = tokenised(config, backbone.source or "", max_length)
    answers = isinstance(dataset, InstructionDataset)
    if answers != (backbone.head == "own"):
        needed = "own for answers to prompts" if answers else "trained for texts in classes"
        raise SettingError("backbone.head", backbone.head, f"must be {needed}, as those of {config.target}")
    return dataset


def tokenised(config: DatasetConfig, tokenizer: str, max_length: int) -> TextDataset:
    """The configured data set of texts.

    Args:
        config: Its class, root and options.
        tokenizer: A folder or the hub's name of the language model.
        max_length: The most tokens of a text.

    Raises:
        SettingError: if the target is no data set of texts, its options do not fit, or its root cannot be read.
    """
    if not config.root:
        raise SettingError("dataset.root", config.root, "name the file or folder that holds the texts")
    for name in ("cache", "resize"):
        value = getattr(config, name)
        if value != getattr(DatasetConfig, name):
            raise SettingError(f"dataset.{name}", value, f"is for images; leave it out for hf:{tokenizer}")
    arguments = {"root": config.root, "tokenizer": tokenizer, "max_length": max_length, **config.options}
    advice = "; images are for a model of timm, and not for hf:..."
    dataset = instantiate(config.target, "dataset", TextDataset, arguments, advice)
    if not isinstance(dataset, InstructionDataset):
        check_number(dataset.classes, config.root)
    return dataset
