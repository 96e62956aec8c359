"""Prompts and answers in Parquet files or lines of JSON: one row per answer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.data.rows import OfRows, Table, arrange
from fedra_ray.data.text.dataset import InstructionDataset, Tokens, TokenStore
from fedra_ray.data.text.dialogue import Answered, Dialogue, Messages
from fedra_ray.data.text.reading import InstructionColumns, Texts, read_lines, read_parquet
from fedra_ray.data.tree import held_out

_AT_ONCE = 4096  # rows that are handed to the tokenizer together


class InstructionParquet(OfRows, InstructionDataset):
    """Reads and tokenises all rows when it is opened; the processes of a run are handed the tokens.

    A row has a prompt and a response, or a list of messages of which the last is the answer. What else it has may be a
    class, by which clients differ, and a domain, which may be a person who has written the rows.

    Args:
        root: A Parquet file or a folder of them: a path or a pyarrow.fs URI.
        tokenizer: A folder or the hub's name of the model whose tokenizer is used.
        max_length: The most tokens of a prompt and its answer. Of what is longer, the answer loses its end but for half
            of these tokens, and then the prompt its beginning; the notes say how many do.
        columns: The columns that have other names than those of `InstructionColumns`, by these.
        template: How a prompt is put, with {prompt} and {context} in it; None for the tokenizer's own chat template or,
            if it has none, prompt, context and answer with empty lines between.
        domains: So many domains are taken, those with most rows; None takes all.
        classes: Names of the classes to take, or their labels; None takes all.
        test: Share in [0, 1) of every domain and class that is held out for testing; None means 0.2 if nothing tells
            splits or file names tell rows for training alone, else 0.
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
        template: str | None = None,
        domains: int | None = None,
        classes: list[str | int] | None = None,
        test: float | None = None,
        validation: float | None = None,
    ) -> None:
        names = InstructionColumns.renamed(columns or {})
        held_out([], test or 0.0, validation or 0.0)  # refuses shares that cannot be, before anything is read
        if names.conversation and template is not None:
            allowed = "is for prompts; messages are put by the tokenizer's chat template"
            raise SettingError("dataset.options.template", template, allowed)
        dialogue = Dialogue(tokenizer, template)
        texts, table = self._read(root, names)
        self._arranged = arrange(table, names, classes, test, validation)
        self.domains, self.classes = self._arranged.domains, self._arranged.classes.names
        if domains is not None:
            self.domains = self._largest(domains)
        answers = [each for part in _conversations(texts, names, dialogue) for each in dialogue.answered(part)]
        self._take(answers, max_length, root)
        self.padding, self.template = dialogue.padding, template

    @staticmethod
    def _read(root: str, names: InstructionColumns) -> tuple[Texts, Table]:
        return read_parquet(root, names)

    @property
    def portable(self) -> bool:
        return True

    def tokens(self, domain: str, split: str, indices: NDArray[np.int64]) -> list[Tokens]:
        return [self._store[row] for row in self._rows(domain, split)[indices].tolist()]

    def prompt_lengths(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._prompts[self._rows(domain, split)[indices]]

    def _largest(self, count: int) -> tuple[str, ...]:
        """The domains with most rows for training, in alphabetical order; of equals the first ones."""
        if not isinstance(count, int) or not 1 <= count <= len(self.domains):
            raise SettingError("dataset.options.domains", count, f"must be from 1 to {len(self.domains)}, all of them")
        sizes = {domain: len(self.labels(domain, "train")) for domain in self.domains}
        return tuple(sorted(sorted(sizes, key=lambda domain: -sizes[domain])[:count]))

    def _take(self, answers: list[Answered], most: int, root: str) -> None:
        """Keep the tokens, and refuse rows that have none."""
        for number, each in enumerate(answers):
            if not (len(each.prompt) and len(each.answer)):
                part = "an answer" if len(each.prompt) else "a prompt"
                raise SettingError("dataset.root", root, f"row {number} of all files has {part} without a token")
        kept = [each.cut(most) for each in answers]
        self._store = TokenStore([np.concatenate(each) for each in kept])
        self._prompts = np.array([len(each.prompt) for each in kept], dtype=np.int64)
        self.most, self.largest = int(self._store.lengths.max()), self._store.largest
        longer = sum(len(each.prompt) + len(each.answer) > most for each in answers)
        if longer:
            note = f"{longer} of {len(answers)} prompts with answers have more than {most} tokens, and lose some"
            self._arranged = self._arranged.noting((note,))


class InstructionLines(InstructionParquet):
    """The same from lines of JSON: one object per answer."""

    @staticmethod
    def _read(root: str, names: InstructionColumns) -> tuple[Texts, Table]:
        return read_lines(root, names)


def _conversations(texts: Texts, names: InstructionColumns, dialogue: Dialogue) -> Iterator[list[Messages]]:
    """The messages of every row, many rows at a time."""
    columns: list[list[Any]] = list(texts.values())
    for start in range(0, len(columns[0]), _AT_ONCE):
        part = {name: values[start : start + _AT_ONCE] for name, values in texts.items()}
        if names.conversation:
            yield part[names.conversation]
            continue
        prompts, responses = part[names.prompt], part[names.response]
        contexts = part[names.context] if names.context else [""] * len(prompts)
        yield [
            [*dialogue.ask(prompt, context), {"role": "assistant", "content": response}]
            for prompt, context, response in zip(prompts, contexts, responses, strict=True)
        ]
