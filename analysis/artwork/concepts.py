"""What drawings show, by their names: a class of the benchmark, something for the pre-training, or neither."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

_HERE = Path(__file__).parent
_QUALIFIERS = frozenset((_HERE / "qualifiers.txt").read_text(encoding="utf-8").split())
"""Words that say how a thing is shown, not what it is."""

_VARIANT = re.compile(
    r"(^|-)(fill|filled|solid|bold|bxs|bx|thin|light|regular|line|linear|broken|outline|outlined|rounded|round|sharp"
    r"|duotone|twotone|two-tone|flat|stroke|color|negative|remix|off|alt|variant|\d+|\d+px)(?=-|$)"
)
_SKIN = re.compile(r"(^|-)(skin-tone|(medium|dark|light|medium-dark|medium-light)(-skin-tone)?$)")
_MOST_WORDS = 5


@dataclass(frozen=True)
class Words:
    """The words that make a name one of a class.

    Attributes:
        heads: Nouns of the class, of which a name must have one.
        companions: What else it may say.
    """

    heads: frozenset[str]
    companions: frozenset[str]


def _read_classes() -> dict[str, Words]:
    found = yaml.safe_load((_HERE / "classes.yaml").read_text(encoding="utf-8"))
    return {name: Words(frozenset(own["heads"]), frozenset(own["with"])) for name, own in found.items()}


CLASSES = _read_classes()
"""The classes of the benchmark in the order of their labels."""

_HEADS = frozenset().union(*(own.heads for own in CLASSES.values()))


def said(name: str) -> str:
    """The words that a drawing's name says, without those of weight, size and number."""
    previous = ""
    while previous != name:
        previous, name = name, _VARIANT.sub("", name).strip("-")
    return re.sub(r"[-_]+", " ", name).strip()


def is_toned(name: str) -> bool:
    """Whether a name is that of a variant by skin."""
    return _SKIN.search(name) is not None


def _forms(word: str) -> tuple[str, str]:
    """A word as it stands and in singular."""
    return word, re.sub(r"(?<=[a-z]{3})(?<!s)s$", "", word)


def _is_of(words: Collection[str], own: Words) -> bool:
    known = own.heads | own.companions | _QUALIFIERS
    return any(own.heads & {*_forms(word)} for word in words) and all(known & {*_forms(word)} for word in words)


def class_of(name: str) -> str | None:
    """The one class whose words a drawing's name is made of; None if there is none, or more than one."""
    words = re.findall(r"[a-z]+", said(name))
    found = [label for label, own in CLASSES.items() if _is_of(words, own)] if len(words) <= _MOST_WORDS else []
    return found[0] if len(found) == 1 else None


def is_kept_out(name: str) -> bool:
    """Whether the pre-training must not see a drawing: its name has a noun of a class."""
    return any(_HEADS & {*_forms(word)} for word in re.findall(r"[a-z]+", name.lower()))
