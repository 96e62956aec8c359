"""Which rows of Parquet files are for training, validation and testing: by a column, by file names, or by shares."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.data.columns import integers
from fedra_ray.data.dataset import SPLITS
from fedra_ray.data.tree import held_out

_TRAIN, _VALIDATION, _TEST = range(len(SPLITS))
#: The keywords of the Hugging Face Hub, "File names and splits".
_KEYWORDS = {
    **dict.fromkeys(("train", "training"), _TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), _VALIDATION),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), _TEST),
}
_LETTER = r"[^\W\d_]"
_KEYWORD = re.compile(rf"(?<!{_LETTER})(?:{'|'.join(_KEYWORDS)})(?!{_LETTER})", re.IGNORECASE)
_SPLIT_WORD = re.compile("train|test|valid", re.IGNORECASE)
#: Shares that are held out where nothing tells a split but that for training.
USUAL_TEST, USUAL_VALIDATION = 0.2, 0.1
_SHOWN = 40  # characters of an unknown word in a message
_NAMED = 4  # files in a message

Splits = NDArray[np.int8]


@dataclass(frozen=True)
class Told:
    """What a data set itself tells about its splits.

    Attributes:
        split: The split of every row (rows,), as an index into `SPLITS`; all are for training where nothing tells.
        by: What tells it, for messages: "file names tell"; empty if nothing does.
        complete: Whether it tells every split that there is, so that none is held out unless that is asked for.
    """

    split: Splits
    by: str
    complete: bool


def told_by_column(column: pa.ChunkedArray, name: str, root: str) -> Told:
    """The splits that a column tells.

    Args:
        column: Values (rows,); the keywords of file names in any case.
        name: Name of the column.
        root: The setting, for messages.

    Raises:
        SettingError: naming a value that is no split.
    """
    values = pc.unique(column)
    numbers = [_KEYWORDS.get(str(value).lower()) for value in values.to_pylist()]
    unknown = sorted(
        str(value)[:_SHOWN] for value, number in zip(values.to_pylist(), numbers, strict=True) if number is None
    )
    if unknown:
        allowed = f"splits must be train, validation or test; there is {', '.join(unknown[:3])}"
        raise SettingError("dataset.root", root, allowed)
    places = integers(pc.index_in(column, values))
    return Told(np.array(numbers, dtype=np.int8)[places], f"the column {name} tells", complete=True)


def told_by_names(files: Sequence[str], rows: Sequence[int], path: str, root: str) -> Told:
    """The splits that names of files and folders tell, by the rule of the Hugging Face Hub.

    A keyword counts in any case between characters that are no letters, anywhere below the root. What all files share
    cannot tell them apart: it counts only if nothing below it tells a split.

    Args:
        files: Paths of the files.
        rows: Rows of each file.
        path: The path of the root, a folder or the only file.
        root: The setting, for messages.

    Raises:
        SettingError: naming the files, if some names tell a split and others do not, or a name tells two.
    """
    inside = [file.removeprefix(path).lstrip("/") or file.rpartition("/")[2] for file in files]
    shared = os.path.commonpath([os.path.dirname(name) for name in inside])
    told = [_keywords(name.removeprefix(shared)) for name in inside]
    if not any(told):
        told = [_keywords(shared)] * len(files)
    if not any(told):
        _refuse_split_words(inside, root)
        return Told(np.full(sum(rows), _TRAIN, dtype=np.int8), "", complete=False)
    several = [name for name, splits in zip(inside, told, strict=True) if len(splits) > 1]
    if several:
        raise SettingError("dataset.root", root, f"names that tell more than one split: {_listed(several)}")
    silent = [name for name, splits in zip(inside, told, strict=True) if not splits]
    if silent:
        telling = [name for name, splits in zip(inside, told, strict=True) if splits]
        allowed = f"some names tell a split ({_listed(telling)}) and others do not ({_listed(silent)})"
        raise SettingError("dataset.root", root, f"{allowed}; rename files, or move them out of the folder")
    numbers = np.array([min(splits) for splits in told], dtype=np.int8)
    return Told(np.repeat(numbers, rows), "file names tell", complete=bool((numbers != _TRAIN).any()))


def _keywords(name: str) -> set[int]:
    """The splits that a name tells."""
    return {_KEYWORDS[word.lower()] for word in _KEYWORD.findall(name)}


def _refuse_split_words(names: list[str], root: str) -> None:
    """Refuse names such as petsTrain and petsTest: no keyword of the Hub, and yet not to be mixed."""
    words = {frozenset(word.lower() for word in _SPLIT_WORD.findall(name)) for name in names}
    if len(frozenset.union(*words)) > 1 and len(words) > 1:
        allowed = f"names seem to tell splits: {_listed(names)}; put train, validation and test between dots or dashes"
        raise SettingError("dataset.root", root, allowed)


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{rest}"


def divided(
    told: Told,
    label: NDArray[np.int64],
    domain: NDArray[np.int64],
    test: float | None,
    validation: float | None,
    root: str,
) -> tuple[Splits, tuple[str, ...]]:
    """Splits (rows,) once shares of the training images are held out, and what a person should know about it.

    Every domain and class gives its share, rounded; a domain whose classes are all too small for that gives one image
    for testing. Numbers of rows alone decide which images these are: the same on every machine and for every seed.

    Args:
        told: What the data set tells.
        label: Labels (rows,).
        domain: Numbers of domains (rows,).
        test: Share in [0, 1) for testing; None means 0.2 if no split but training is told.
        validation: The same for validation; None means 0.1.
        root: The setting, for messages.

    Raises:
        SettingError: if there are no training images, or the shares leave none.
    """
    present = set(np.unique(told.split).tolist())
    if _TRAIN not in present:
        raise SettingError("dataset.root", root, f"has no training images: {told.by} other splits alone")
    shares, notes = [], []
    for split, given, usual in ((_TEST, test, USUAL_TEST), (_VALIDATION, validation, USUAL_VALIDATION)):
        share = (0.0 if told.complete else usual) if given is None else given
        if split in present:
            if given:
                option = f"dataset.options.{SPLITS[split]}={given:g} is not used"
                notes.append(f"{option}: {told.by} which images are for {SPLITS[split]}")
            share = 0.0
        shares.append(share)
    held_out([], *shares)  # refuses what cannot be
    if any(shares):
        parts = [f"{share:g} for {name}" for share, name in zip(shares, ("test", "validation"), strict=True) if share]
        reason = f"{told.by} no such images" if told.by else "no column and no file name tells splits"
        notes.append(f"{reason}: of every domain and class is held out {' and '.join(parts)}")
    return _with_held_out(told.split, label, domain, *shares), tuple(notes)


def _with_held_out(
    split: Splits, label: NDArray[np.int64], domain: NDArray[np.int64], test: float, validation: float
) -> Splits:
    """Splits (rows,) in which shares of the training images are for testing and validation."""
    rows = np.flatnonzero(split == _TRAIN) if test or validation else np.empty(0, dtype=np.int64)
    rank = np.array(
        [int.from_bytes(hashlib.sha256(b"%d" % row).digest()[:8]) for row in rows.tolist()], dtype=np.uint64
    )
    order = np.lexsort((rank, label[rows], domain[rows]))
    rows = rows[order]
    starts = np.flatnonzero(np.diff(domain[rows], prepend=-1) | np.diff(label[rows], prepend=-1))
    sizes = np.diff(starts, append=len(rows))
    place = np.arange(len(rows)) - np.repeat(starts, sizes)  # within its domain and class
    tested, held = (np.repeat(np.rint(share * sizes), sizes) for share in (test, test + validation))
    divided = split.copy()
    divided[rows[place < held]] = _VALIDATION
    divided[rows[place < tested]] = _TEST
    if test:
        divided[_of_untested(rows, rank[order], domain, divided)] = _TEST
    return divided


def _of_untested(
    rows: NDArray[np.int64], rank: NDArray[np.uint64], domain: NDArray[np.int64], split: Splits
) -> NDArray[np.int64]:
    """The image of lowest rank of every domain that has none for testing: of those for training if it keeps another."""
    domains = domain.max(initial=-1) + 1
    trained, validated, tested = (np.bincount(domain[split == part], minlength=domains) for part in range(len(SPLITS)))
    poor = (tested == 0) & (trained + validated > 1)
    candidates = poor[domain[rows]] & ((split[rows] == _VALIDATION) | (trained > 1)[domain[rows]])
    rows, rank = rows[candidates], rank[candidates]
    rows = rows[np.lexsort((rank, split[rows], domain[rows]))]
    return rows[np.flatnonzero(np.diff(domain[rows], prepend=-1))]
