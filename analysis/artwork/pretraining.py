"""The drawings of the pre-training: icons and emoji that show nothing of the benchmark."""

import io
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.artwork.concepts import is_kept_out, is_toned, said
from analysis.artwork.draw import draw
from analysis.artwork.icons import IconSet

SIDE = 84
"""Pixels: six patches of the teacher's 14."""

MOST_OF_A_NAME = 3
"""Most drawings of one name in one set: weights and sizes of one icon."""

SCHEMA = pa.schema([("image", pa.binary()), ("name", pa.string()), ("source", pa.string())])

_INTERFACE = re.compile(
    r"(^|-)(alpha|numeric|format|sort|filter|box|check|plus|minus|remove|cancel|cog|edit|table|battery|wifi|signal"
    r"|network|align|border|page|set|logo|brand|align|layout|grid|text|coding|size|ratio|brackets?)(-|$)"
)


def usable(icons: IconSet, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Drawings of a set and what each says, in random order: no sign of an interface and nothing of the benchmark."""
    taken: Counter[str] = Counter()
    names = sorted(icons.names())
    rng.shuffle(names)
    for name in names:
        words = said(name)
        if len(words) < 2 or _INTERFACE.search(name) or is_kept_out(name) or is_toned(name):
            continue
        if taken[words] < MOST_OF_A_NAME:
            taken[words] += 1
            yield name, words


def rows(archives: Mapping[str, Path], most: int, seed: int) -> Iterator[tuple[bytes, str, str]]:
    """Image (WebP), what it shows, and its source, of all sets; at most `most` drawings of one set."""
    for package, archive in archives.items():
        icons = IconSet(archive)
        rng = random.Random(f"{seed} {package}")
        drawable = list(usable(icons, rng))
        for name, words in rng.sample(drawable, min(most, len(drawable))):
            buffer = io.BytesIO()
            draw(icons.svg(name), SIDE).save(buffer, "WEBP", lossless=True)
            yield buffer.getvalue(), words, f"{package}/{name}"


def write(found: Iterator[tuple[bytes, str, str]], path: Path) -> int:
    """Write the drawings as one Parquet file; returns how many."""
    columns = list(zip(*found, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    pq.write_table(pa.table(arrays, schema=SCHEMA), path)
    return len(arrays[0])
