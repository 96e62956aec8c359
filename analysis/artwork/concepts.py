"""What the drawings show: the concepts of the benchmark and their words."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from analysis.artwork.packages import read_json

CLASSES: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("classes.yaml").read_text(encoding="utf-8"))
"""Name of each class -> the subgroups of emoji that it takes in."""

RESERVED = ("time",)
"""Subgroups for neither the benchmark nor the pre-training: most drawings of this one are the same clock."""

_QUALIFIERS = frozenset(Path(__file__).with_name("qualifiers.txt").read_text(encoding="utf-8").split())
"""Words that say how a thing is shown, not what it is."""


@dataclass(frozen=True)
class Emoji:
    """One emoji of Unicode's list, without its variants by skin.

    Attributes:
        hexcode: Its code points.
        label: Its English name.
        subgroup: Unicode's subgroup; empty for what has none.
        concept: What it shows: the name without gender.
    """

    hexcode: str
    label: str
    subgroup: str
    concept: str


def read_emoji(archive: Path) -> list[Emoji]:
    """All emoji of the labels' package, in its order."""
    subgroups = read_json(archive, "meta/groups.json")["subgroups"]
    return [
        Emoji(
            entry["hexcode"],
            entry["label"],
            subgroups.get(str(entry.get("subgroup")), ""),
            re.sub(r"^(man|woman|men|women|person|people):? ", "", entry["label"]),
        )
        for entry in read_json(archive, "en/data.json")
    ]


def class_of(emoji: Emoji) -> str | None:
    """The class that shows an emoji; None for what the benchmark leaves out."""
    return next((name for name, subgroups in CLASSES.items() if emoji.subgroup in subgroups), None)


def is_kept_out(emoji: Emoji) -> bool:
    """Whether the pre-training must show neither an emoji nor what it shows."""
    return class_of(emoji) is not None or emoji.subgroup in RESERVED


def words(name: str) -> frozenset[str]:
    """The words of a name in singular, without qualifiers such as colours; all words if no other is there."""
    found = [re.sub(r"(?<=[a-z]{3})(?<!s)s$", "", word) for word in re.findall(r"[a-z]+", name.lower())]
    return frozenset(word for word in found if word not in _QUALIFIERS) or frozenset(found)


class Excluded:
    """Tells drawings of the benchmark's concepts by their names.

    Args:
        labels: Names of the concepts.
    """

    def __init__(self, labels: list[str]) -> None:
        self._concepts = {words(label) for label in labels}

    def covers(self, name: str) -> bool:
        """Whether a name has all words of a concept, as `dolphin-jumping` has those of `dolphin`."""
        own = words(name)
        return any(concept <= own for concept in self._concepts)
