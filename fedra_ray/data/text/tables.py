"""Texts in Parquet files or lines of JSON: one row per text, with a label and, where there is one, a domain."""

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.data.rows import OfRows, Table, arrange
from fedra_ray.data.text.dataset import TextDataset, Tokenized, Tokens
from fedra_ray.data.text.reading import TextColumns, Texts, read_lines, read_parquet
from fedra_ray.data.tree import held_out


class TextParquet(OfRows, TextDataset):
    """Reads and tokenises all texts when it is opened; the processes of a run are handed the tokens.

    Splits, names of classes and domains are found as for images in Parquet (`fedra_ray.data.parquet`).

    Args:
        root: A Parquet file or a folder of them: a path or a pyarrow.fs URI.
        tokenizer: A folder or the hub's name of the model whose tokenizer is used.
        max_length: The most tokens of a text; what is longer loses its end, and the notes say how many do.
        columns: The columns that have other names than `text`, `label`, `label_name`, `domain` and `split`, by these;
            a domain of null takes all texts for one domain. `second` names a further one, of texts that follow these.
        classes: Names of the classes to take, or their labels; None takes all.
        test: Share in [0, 1) of every domain and class that is held out for testing; None means 0.2 if nothing tells
            splits or file names tell training texts alone, else 0.
        validation: The same for validation; None means 0.1 or 0.

    Raises:
        SettingError: if a file is missing or damaged, lacks a column, or holds something that does not fit.
    """

    def __init__(
        self,
        root: str,
        tokenizer: str,
        max_length: int,
        columns: dict[str, str | None] | None = None,
        classes: list[str | int] | None = None,
        test: float | None = None,
        validation: float | None = None,
    ) -> None:
        names = TextColumns.renamed(columns or {})
        held_out([], test or 0.0, validation or 0.0)  # refuses shares that cannot be, before anything is read
        texts, table = self._read(root, names)
        self._arranged = arrange(table, names, classes, test, validation)
        self.domains, self.classes = self._arranged.domains, self._arranged.classes.names
        pairs = texts[names.second] if names.second else None
        self._tokenized = Tokenized(texts[names.text], tokenizer, max_length, pairs)
        lengths = self._tokenized.lengths
        if not lengths.all():
            allowed = f"row {int(np.argmin(lengths))} of all files has a text without a token"
            raise SettingError("dataset.root", root, allowed)
        self.padding, self.largest = self._tokenized.padding, self._tokenized.largest
        self.most = int(lengths.max())
        full = int((lengths == max_length).sum())
        if full:
            note = f"{full} of {len(lengths)} texts have {max_length} tokens or more, and lose those beyond"
            self._arranged = self._arranged.noting((note,))

    @staticmethod
    def _read(root: str, names: TextColumns) -> tuple[Texts, Table]:
        return read_parquet(root, names)

    @property
    def portable(self) -> bool:
        return True

    def tokens(self, domain: str, split: str, indices: NDArray[np.int64]) -> list[Tokens]:
        return [self._tokenized[row] for row in self._rows(domain, split)[indices].tolist()]

    def first_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        firsts = self._tokenized.firsts
        return None if firsts is None else firsts[self._rows(domain, split)[indices]]


class JsonLines(TextParquet):
    """The same from lines of JSON: one object per text."""

    @staticmethod
    def _read(root: str, names: TextColumns) -> tuple[Texts, Table]:
        return read_lines(root, names)
