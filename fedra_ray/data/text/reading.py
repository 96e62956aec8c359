"""Reading texts with their labels and domains from Parquet files and from lines of JSON. None of them is trusted."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.config.paths import filesystem
from fedra_ray.data.parquet_files import check_columns, is_word, list_files, naming, together, word
from fedra_ray.data.rows import Names, Table

_SECRET = -1  # the label of a row that has none
ONE = "all"  # the domain of all texts, and their class, where no column has one

#: The columns with texts, or with lists of messages, by name.
Texts = dict[str, list[Any]]


class _Columns(Names, ABC):
    """What tables of different columns have in common; empty names mean that there is no such column."""

    omissible: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def texts(self) -> tuple[str, ...]:
        """The columns that become tokens."""

    @property
    def messages(self) -> str:
        """The one of them that has lists of messages, if any."""
        return ""

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every file must have."""
        return tuple(name for name in (*self.texts, self.label, self.domain) if name)

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that are read where they are."""
        return self.label_name, self.split

    @classmethod
    def renamed(cls, names: Mapping[str, str | None]) -> Self:
        """The usual names, but for some columns.

        Args:
            names: Other names, by the usual ones; those of `omissible` may be null.

        Raises:
            SettingError: if there is no such usual name, or another one is null.
        """
        check_columns(names, cls)
        for name, value in names.items():
            if not value and name not in cls.omissible:
                allowed = f"must name a column; only {', '.join(cls.omissible)} may be null"
                raise SettingError(f"dataset.options.columns.{name}", value, allowed)
        return cls(**{name: value or "" for name, value in names.items()})


@dataclass(frozen=True)
class TextColumns(_Columns):
    """Names of the columns of texts in classes. Labels and domains are text or integers.

    Attributes:
        second: The second of two texts that are judged together, such as an answer to a question.
    """

    omissible: ClassVar[tuple[str, ...]] = ("second", "domain")
    text: str = "text"
    second: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text, self.second) if self.second else (self.text,)


@dataclass(frozen=True)
class InstructionColumns(_Columns):
    """Names of the columns of prompts and answers: one column each, or one of messages.

    Attributes:
        prompt: What is asked.
        context: What the prompt is about; may be empty text.
        response: The answer.
        conversation: In place of these three, lists of messages with a `role` and a `content`, of which the last is the
            answer.
    """

    omissible: ClassVar[tuple[str, ...]] = ("context", "conversation", "label", "domain")
    prompt: str = "prompt"
    context: str = ""
    response: str = "response"
    conversation: str = ""
    label: str = ""
    domain: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        usual = tuple(name for name in (self.prompt, self.context, self.response) if name)
        return (self.conversation,) if self.conversation else usual

    @property
    def messages(self) -> str:
        return self.conversation


def read_parquet(root: str, names: _Columns) -> tuple[Texts, Table]:
    """Texts of a Parquet file or a folder of them, and their rows.

    Raises:
        SettingError: naming the file, if one is missing or damaged, lacks a column, or holds what does not fit.
    """
    system, path = filesystem("dataset.root", root)
    files = _listed(system, path, root, (".parquet",), "Parquet")
    parts = []
    for file in files:
        with naming(file, root):
            reader = pq.ParquetFile(system.open_input_file(file), page_checksum_verification=True)
        _check_columns(reader.schema_arrow.names, file, names, root)
        present = [name for name in (*names.needed, *names.optional) if name in reader.schema_arrow.names]
        with naming(file, root):
            part = reader.read(columns=present, use_threads=False)
            part.validate(full=True)
        parts.append((part, reader.schema_arrow))
    return _whole(files, parts, names, path, root)


def read_lines(root: str, names: _Columns) -> tuple[Texts, Table]:
    """Texts of a file of JSON lines or a folder of such (.jsonl, .jsonl.gz), and their rows.

    Raises:
        SettingError: naming the file and the line, if one is missing or damaged, lacks a name, or holds what does not
            fit.
    """
    system, path = filesystem("dataset.root", root)
    files = _listed(system, path, root, (".jsonl", ".jsonl.gz"), "JSON lines")
    parts = []
    for file in files:
        with naming(file, root, "JSON lines"):
            lines = list(_objects(system, file))
        first = list(lines[0]) if lines else []
        _check_columns(first, file, names, root)
        present = [name for name in (*names.needed, *names.optional) if name in first]
        columns: dict[str, list[Any]] = {name: [] for name in present}
        for number, line in enumerate(lines, start=1):
            for name, values in columns.items():
                values.append(_value(line, name, f"{file}, line {number}", root, name == names.messages))
        with naming(file, root, "JSON lines"):
            part = pa.table({name: pa.array(values) for name, values in columns.items()})
        parts.append((part, part.schema))
    return _whole(files, parts, names, path, root)


def _listed(system: fs.FileSystem, path: str, root: str, suffixes: tuple[str, ...], kind: str) -> list[str]:
    try:
        return list_files(system, path, root, suffixes, kind)
    except (pa.ArrowException, OSError, RecursionError) as error:
        raise SettingError("dataset.root", root, f"is not readable as {kind}: {error_text(error)}") from error


def _objects(system: fs.FileSystem, file: str) -> Iterator[dict[str, Any]]:
    """The object of every line.

    Raises:
        ValueError: naming the first line that holds none.
    """
    with system.open_input_stream(file) as stream:
        lines = stream.read().decode().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(value, dict):
            raise ValueError(f"line {number} is no object")
        yield value


def _value(line: dict[str, Any], name: str, place: str, root: str, messages: bool) -> Any:
    value = line.get(name)
    if value is None:
        raise SettingError("dataset.root", root, f"{place} has no {name}, which the first line has")
    if messages:
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise SettingError("dataset.root", root, f"{place}: {name} must be text or an integer")
    return value


def _check_columns(present: list[str], file: str, names: _Columns, root: str) -> None:
    missing = [name for name in names.needed if name not in present]
    if missing:
        lacking = f"{file} lacks the columns {', '.join(missing)}; its columns are {', '.join(present) or 'none'}"
        advice = "dataset.options.columns renames them"
        if names.domain:
            advice += ", and columns.domain=null takes all texts for one domain"
        raise SettingError("dataset.root", root, f"{lacking}; {advice}")
    for name in (*names.needed, *names.optional):
        if present.count(name) > 1:
            raise SettingError("dataset.root", root, f"{file} has more than one column {name}")


def _whole(
    files: list[str], parts: list[tuple[pa.Table, pa.Schema]], names: _Columns, path: str, root: str
) -> tuple[Texts, Table]:
    """The texts of all files, and the rows without them."""
    words, messages, hidden = [], [], 0
    for file, (part, _) in zip(files, parts, strict=True):
        every = len(part)
        part = _labelled(part, names)
        hidden += every - len(part)
        if names.messages:
            messages += _messages(part[names.messages], file, root)
            part = part.drop_columns([names.messages])
        _check_kinds(part, names, file, root)
        columns = {name: word(part[name], name, file, root) for name in part.column_names}
        if not (names.label and names.domain):  # both are called "" if both are missing
            columns[""] = pa.chunked_array([pa.array([ONE] * len(part), pa.large_string())])
        words.append(pa.table(columns))
    table = together(files, words, root)
    counts, schemas = [len(part) for part in words], [schema for _, schema in parts]
    texts = [name for name in names.texts if name != names.messages]
    found = {name: table[name].to_pylist() for name in texts} | ({names.messages: messages} if names.messages else {})
    notes = (f"passed over {hidden} texts whose label is {_SECRET}, which is none",) if hidden else ()
    return found, Table(files, counts, table.drop_columns(texts), schemas, path, root, notes)


def _labelled(part: pa.Table, names: _Columns) -> pa.Table:
    """The rows of a file without those for testing whose labels are kept secret, as those of GLUE are."""
    if not names.label or not pa.types.is_integer(part.schema.field(names.label).type):
        return part
    return part.filter(pc.fill_null(pc.not_equal(part[names.label], _SECRET), True))


def _check_kinds(part: pa.Table, names: _Columns, file: str, root: str) -> None:
    """Refuse columns of other types than text and, where none is tokenised, integers."""
    for name in part.column_names:
        kind = part.schema.field(name).type
        if not is_word(kind) or (name in names.texts and pa.types.is_integer(kind)):
            expected = "text" if name in names.texts else "text or integers"
            raise SettingError("dataset.root", root, f"{file}: column {name} must have {expected}; it has {kind}")


def _messages(column: pa.ChunkedArray, file: str, root: str) -> list[list[dict[str, str]]]:
    """The messages of every row, with nothing but their role and content.

    Raises:
        SettingError: naming the first row that is no list of two messages or more, of which the last has a content.
    """
    found = []
    for number, row in enumerate(column.to_pylist(), start=1):
        try:
            messages = [{name: message[name] for name in ("role", "content")} for message in row]
            good = len(messages) > 1 and all(isinstance(text, str) for each in messages for text in each.values())
        except (TypeError, LookupError):
            good = False
        if not good:
            allowed = f"{file}, row {number}: must be a list of at least two messages with a role and a content of text"
            raise SettingError("dataset.root", root, allowed)
        found.append(messages)
    return found
