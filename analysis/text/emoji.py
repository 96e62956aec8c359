"""A data set of emoji's names: a text is a name, its class the group of the emoji, its domain the language."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LANGUAGES = ("de", "en", "es", "fr", "it", "pt")
#: Skin tones and the like, which are no emoji of their own; and flags, of which most names begin with that word.
_NO_CLASSES = {"component", "flags"}
#: Joiners, signs of gender and the adults before a profession: emoji that differ by these alone are one concept.
_VARIANTS = {"200D", "FE0F", "2640", "2642", "1F468", "1F469", "1F9D1"}
#: Shares of the concepts for testing and validation.
TEST, VALIDATION = 0.25, 0.1


def rows(folder: Path, languages: Sequence[str] = LANGUAGES) -> Iterator[dict[str, Any]]:
    """One row per emoji and language that names it: text, label, label_name, domain, split, concept.

    Args:
        folder: The unpacked package emojibase-data.
        languages: Its folders that are taken.
    """
    groups = _read(folder / "meta" / "groups.json")["groups"]
    names = {int(number): name for number, name in groups.items() if name not in _NO_CLASSES}
    labels = {number: label for label, number in enumerate(sorted(names))}
    for language in languages:
        for emoji in _read(folder / language / "data.json"):
            if emoji.get("group") not in names:
                continue
            concept = concept_of(emoji["hexcode"])
            yield {
                "text": emoji["label"],
                "label": labels[emoji["group"]],
                "label_name": names[emoji["group"]],
                "domain": language,
                "split": split_of(concept),
                "concept": concept,
            }


def concept_of(code: str) -> str:
    """What an emoji shows, whoever does it: a man, a woman and a person who cook are one concept.

    Args:
        code: Its code points in hexadecimal, joined by dashes.
    """
    parts = code.split("-")
    return "-".join([part for part in parts if part not in _VARIANTS] or parts)


def split_of(concept: str) -> str:
    """The split of all emoji of a concept, in every language: the same on every machine."""
    place = int.from_bytes(hashlib.sha256(concept.encode()).digest()[:8]) / 2**64
    return "test" if place < TEST else "validation" if place < TEST + VALIDATION else "train"


def write(folder: Path, file: Path, languages: Sequence[str] = LANGUAGES) -> int:
    """Write the data set; returns the number of its rows."""
    table = pa.Table.from_pylist(list(rows(folder, languages)))
    part = file.with_name(f".{file.name}")
    pq.write_table(table, part)
    part.rename(file)
    return len(table)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
