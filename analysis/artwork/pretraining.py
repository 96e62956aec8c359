"""The drawings of the pre-training: icons and emoji that show nothing of the benchmark."""

import io
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.artwork.concepts import Emoji, Excluded, is_kept_out
from analysis.artwork.draw import draw
from analysis.artwork.icons import IconSet
from analysis.artwork.packages import Package

SIDE = 84
"""Pixels: six patches of the teacher's 14."""

MOST_OF_A_NAME = 3
"""Most drawings of one name in one set: weights and sizes of one icon."""

SCHEMA = pa.schema([("image", pa.binary()), ("name", pa.string()), ("source", pa.string())])

_VARIANT = re.compile(
    r"-(fill|bold|thin|light|duotone|solid|remix|outline|negative|off|alt|variant|\d+|\d+px|24px)(?=-|$)|^-|(?<=-)\d+$"
)
_INTERFACE = re.compile(
    r"(^|-)(alpha|numeric|format|sort|filter|box|check|plus|minus|remove|cancel|cog|edit|table|battery|wifi|signal"
    r"|network|align|border|page|set|logo|brand|align|layout|grid|text|coding|size|ratio|brackets?)(-|$)"
)


def spoken(name: str) -> str:
    """The words that an icon's name says, without those of weight, size and number."""
    previous = ""
    while previous != name:
        previous, name = name, _VARIANT.sub("", name)
    return re.sub(r"[-_]+", " ", name).strip()


def icon_names(icons: IconSet, excluded: Excluded, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Icons of a set and what each says, in random order: no sign of an interface and no concept of the benchmark."""
    taken: Counter[str] = Counter()
    names = sorted(icons.names())
    rng.shuffle(names)
    for name in names:
        said = spoken(name)
        if len(said) < 2 or _INTERFACE.search(name) or excluded.covers(said) or taken[said] >= MOST_OF_A_NAME:
            continue
        taken[said] += 1
        yield name, said


def emoji_names(icons: IconSet, emoji: list[Emoji], excluded: Excluded) -> Iterator[tuple[str, str]]:
    """Emoji of a set that no class of the benchmark takes in, and their names."""
    for one in emoji:
        name = icons.find(one.hexcode, one.label)
        if name is not None and not is_kept_out(one) and not excluded.covers(one.concept):
            yield name, one.label


def rows(
    packages: Mapping[str, Package], archives: Mapping[str, Path], emoji: list[Emoji], most: int, seed: int
) -> Iterator[tuple[bytes, str, str]]:
    """Image (WebP), what it shows, and its source, of all sets; at most `most` drawings of one set."""
    excluded = Excluded([one.concept for one in emoji if is_kept_out(one)])
    for name, package in packages.items():
        if package.use == "labels":
            continue
        icons = IconSet(archives[name])
        rng = random.Random(f"{seed} {name}")
        found = list(
            icon_names(icons, excluded, rng) if package.use == "icons" else emoji_names(icons, emoji, excluded)
        )
        for drawing, said in rng.sample(found, min(most, len(found))):
            buffer = io.BytesIO()
            draw(icons.svg(drawing), SIDE).save(buffer, "WEBP", lossless=True)
            yield buffer.getvalue(), said, f"{name}/{drawing}"


def write(found: Iterator[tuple[bytes, str, str]], path: Path) -> int:
    """Write the drawings as one Parquet file; returns how many."""
    columns = list(zip(*found, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    pq.write_table(pa.table(arrays, schema=SCHEMA), path)
    return len(arrays[0])
