"""Labelled texts as tokens of a language model."""

from abc import abstractmethod
from collections.abc import Sequence

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


class Tokenized:
    """Texts as tokens, in two arrays that processes of a node can share.

    Args:
        texts: The texts.
        tokenizer: A folder or the hub's name of the model whose tokenizer makes them.
        max_length: The most tokens of a text; what is longer loses its end.

    Attributes:
        padding: The token that fills up a batch.
        lengths: Number of tokens of every text (texts,).
        largest: The largest token.

    Raises:
        SettingError: if there is no such tokenizer.
    """

    def __init__(self, texts: Sequence[str], tokenizer: str, max_length: int) -> None:
        from fedra_ray.model.text.sources import load_tokenizer  # imports transformers: seconds

        encoder = load_tokenizer(tokenizer)
        parts: list[Tokens] = []
        for start in range(0, len(texts), _AT_ONCE):
            chunk = list(texts[start : start + _AT_ONCE])
            parts += [np.array(ids, dtype=np.int32) for ids in _encoded(encoder, chunk, max_length)]
        self._flat = np.concatenate([np.empty(0, dtype=np.int32), *parts])
        self.lengths = np.array([len(part) for part in parts], dtype=np.int64)
        self._starts = np.cumsum([0, *self.lengths])
        self.largest = int(self._flat.max(initial=0))
        known = (encoder.pad_token_id, encoder.eos_token_id, 0)  # of what is masked, any will do
        self.padding = int(next(token for token in known if token is not None))

    def __getitem__(self, number: int) -> Tokens:
        return self._flat[self._starts[number] : self._starts[number + 1]]


def _encoded(encoder: object, texts: list[str], max_length: int) -> list[list[int]]:
    wanted = {"return_attention_mask": False, "return_token_type_ids": False}
    ids: list[list[int]] = encoder(texts, truncation=True, max_length=max_length, **wanted)["input_ids"]  # type: ignore[operator]
    return ids


def open_texts(config: DatasetConfig, backbone: BackboneConfig, max_length: int) -> TextDataset:
    """The configured data set of texts.

    Args:
        config: Its class, root and options.
        backbone: The language model, which has the tokenizer.
        max_length: The most tokens of a text.

    Raises:
        SettingError: if the target is no data set of texts, its options do not fit, or its root cannot be read.
    """
    if not config.root:
        raise SettingError("dataset.root", config.root, "name the file or folder that holds the texts")
    for name in ("cache", "resize"):
        value = getattr(config, name)
        if value != getattr(DatasetConfig, name):
            raise SettingError(f"dataset.{name}", value, f"is for images; leave it out for {backbone.model}")
    arguments = {"root": config.root, "tokenizer": backbone.source, "max_length": max_length, **config.options}
    advice = "; images are for a model of timm, and not for hf:..."
    dataset = instantiate(config.target, "dataset", TextDataset, arguments, advice)
    check_number(dataset.classes, config.root)
    return dataset
