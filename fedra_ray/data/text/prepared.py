"""Texts that `fedra-ray prepare` has turned into tokens, and how they lie in Parquet shards with a manifest."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import filesystem
from fedra_ray.data.parquet_files import list_files, naming, together, word
from fedra_ray.data.prepare.manifest import DAMAGE, read_manifest
from fedra_ray.data.rows import Names, OfRows, Table, arrange
from fedra_ray.data.text.dataset import InstructionDataset, TextDataset, Tokens, TokenStore

#: Columns of a shard: lists of tokens, and how many of them are the prompt's, or those of the first of two texts.
TOKENS, FIRST = "tokens", "first_tokens"
#: What a shard's texts are: on their own, pairs, or prompts with answers.
SINGLE, PAIR, ANSWER = "texts", "pairs", "answers"
_WORDS = ("label", "label_name", "domain", "split")


@dataclass(frozen=True)
class Prepared:
    """What the manifest of tokens says besides the shards.

    Attributes:
        kind: One of texts, pairs and answers.
        tokenizer: The language model whose tokenizer was used.
        digest: Of that tokenizer.
        padding: The token that fills up a batch.
        template: How prompts were put; None if by the tokenizer.
        notes: What a person should know of the texts, a line each.
    """

    kind: str
    tokenizer: str
    digest: str
    padding: int
    template: str | None
    notes: tuple[str, ...]

    @classmethod
    def read(cls, system: fs.FileSystem, path: str, root: str) -> "Prepared":
        """What the manifest of a folder says.

        Raises:
            SettingError: if it has none, or one of something else.
        """
        try:
            stated: dict[str, Any] = dict(read_manifest(system, path)["tokens"])
            return cls(**stated | {"notes": tuple(stated["notes"]), "padding": int(stated["padding"])})
        except (*DAMAGE, OSError) as error:
            allowed = "holds no tokens: name the folder that `fedra-ray prepare tokenizer=hf:...` has written"
            raise SettingError("dataset.root", root, allowed) from error


class _Tokens(OfRows):
    """What both data sets of tokens have in common."""

    _kinds: tuple[str, ...]

    def __init__(self, root: str, tokenizer: str, max_length: int) -> None:
        from fedra_ray.model.text.sources import load_tokenizer, tokenizer_digest  # imports transformers: seconds

        system, path = filesystem("dataset.root", root)
        self._prepared = Prepared.read(system, path, root)
        if self._prepared.kind not in self._kinds:
            other = "answer_tokens" if self._prepared.kind == ANSWER else "text_tokens"
            raise SettingError("dataset.root", root, f"holds {self._prepared.kind}: use dataset={other}")
        if tokenizer_digest(load_tokenizer(tokenizer)) != self._prepared.digest:
            allowed = (
                f"was prepared by the tokenizer of {self._prepared.tokenizer}, which is not that of hf:{tokenizer}"
            )
            raise SettingError("dataset.root", root, allowed)
        table, parts, firsts = _read(system, path, root)
        self._arranged = replace(arrange(table, Names(), None, 0.0, 0.0), notes=self._prepared.notes)
        self.domains, self.classes = self._arranged.domains, self._arranged.classes.names
        self._store, self._firsts = TokenStore(parts), firsts
        self.padding, self.largest = self._prepared.padding, self._store.largest
        self.most = int(self._store.lengths.max())
        if self.most > max_length:
            allowed = (
                f"has texts of {self.most} tokens, and backbone.max_length leads to {max_length}; set it to "
                f"{self.most}, or prepare the texts again with max_length={max_length}"
            )
            raise SettingError("dataset.root", root, allowed)

    @property
    def portable(self) -> bool:
        return True

    def tokens(self, domain: str, split: str, indices: NDArray[np.int64]) -> list[Tokens]:
        return [self._store[row] for row in self._rows(domain, split)[indices].tolist()]

    def _first(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._firsts[self._rows(domain, split)[indices]]


class TextTokens(_Tokens, TextDataset):
    """Labelled texts as tokens, of a folder that `fedra-ray prepare` has written.

    Args:
        root: The folder: a path or a pyarrow.fs URI.
        tokenizer: A folder or the hub's name of the model; its tokenizer must be the one of the preparation.
        max_length: The most tokens of a text; longer ones are refused.

    Raises:
        SettingError: if the folder is not one of these, was prepared for another tokenizer or longer texts, or is
            damaged.
    """

    _kinds = (SINGLE, PAIR)

    def first_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        return self._first(domain, split, indices) if self._prepared.kind == PAIR else None


class AnswerTokens(_Tokens, InstructionDataset):
    """Prompts and answers as tokens, of a folder that `fedra-ray prepare` has written; arguments as of `TextTokens`."""

    _kinds = (ANSWER,)

    def __init__(self, root: str, tokenizer: str, max_length: int) -> None:
        super().__init__(root, tokenizer, max_length)
        self.template = self._prepared.template

    def prompt_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._first(domain, split, indices)


def _read(system: fs.FileSystem, path: str, root: str) -> tuple[Table, list[Tokens], NDArray[np.int64]]:
    """The rows of all shards, the tokens of each, and how many of these come first."""
    files = list_files(system, path, root)
    words, schemas, counts, parts, firsts = [], [], [], [], []
    for file in files:
        with naming(file, root):
            part = pq.read_table(file, filesystem=system, page_checksum_verification=True)
            part.validate(full=True)
            parts += list(_lists(part))
            first = part[FIRST].to_numpy()
            if not all(0 <= own <= len(tokens) for own, tokens in zip(first, parts[-len(part) :], strict=True)):
                raise ValueError(f"{FIRST} does not fit {TOKENS}")
            columns = part.select(_WORDS)
        firsts.append(first.astype(np.int64))
        words.append(pa.table({name: word(columns[name], name, file, root) for name in _WORDS}))
        schemas.append(part.schema)
        counts.append(len(part))
    return Table(files, counts, together(files, words, root), schemas, path, root), parts, np.concatenate(firsts)


def _lists(part: pa.Table) -> Iterator[Tokens]:
    """The tokens of every row.

    Raises:
        ValueError: if a row has none, or something is missing or negative.
    """
    column = part[TOKENS].combine_chunks()
    lengths, flat = pc.fill_null(pc.list_value_length(column), 0).to_numpy(), column.flatten()
    if flat.null_count or not lengths.all() or (len(flat) and pc.min(flat).as_py() < 0):
        raise ValueError(f"{TOKENS} has rows without a token, or with something else")
    yield from np.split(flat.to_numpy().astype(np.int32), np.cumsum(lengths)[:-1])
