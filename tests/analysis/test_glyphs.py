"""The shipped benchmark keeps its promises, and its builder does what they rest on."""

import io
import random
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from analysis.glyphs.alphabet import is_unlike_latin
from analysis.glyphs.build import COUNTS, encode
from analysis.glyphs.collect import CLASSES, NEAR, Glyph, distances, drop_near_duplicates, pick, split_lineages
from analysis.glyphs.domains import DOMAINS
from analysis.glyphs.fonts import find_fonts, read_packages
from analysis.glyphs.noise import Noise
from analysis.image_rows import SCHEMA, write

GLYPHS = Path(str(files("fedra_ray"))) / "assets" / "glyphs.parquet"


@pytest.fixture(scope="module")
def columns() -> dict[str, list[Any]]:
    """The shipped file by column."""
    result: dict[str, list[Any]] = pq.read_table(GLYPHS).to_pydict()
    return result


def _glyph(lineage: str, label: int = 0, ink: int = 0, style: str = "text") -> Glyph:
    return Glyph(np.full((64, 64), ink, np.uint8), label, style, lineage, f"{lineage}/Font|A")


def test_shipped_file_has_the_schema_and_is_small() -> None:
    assert pq.read_schema(GLYPHS).equals(SCHEMA)
    assert GLYPHS.stat().st_size <= 12_000_000


def test_every_domain_and_split_has_the_same_number_of_every_class(columns: dict[str, list[Any]]) -> None:
    cells = Counter(zip(columns["domain"], columns["split"], columns["label"], strict=True))
    expected = {(d, s, y): n for d in DOMAINS for s, n in COUNTS.items() for y in range(len(CLASSES))}
    assert cells == expected


def test_label_and_label_name_agree(columns: dict[str, list[Any]]) -> None:
    assert set(zip(columns["label"], columns["label_name"], strict=True)) == set(enumerate(CLASSES))


def test_no_lineage_of_fonts_is_in_two_splits(columns: dict[str, list[Any]]) -> None:
    splits = defaultdict(set)
    for source, split in zip(columns["source"], columns["split"], strict=True):
        splits[source.partition("/")[0]].add(split)
    assert {len(found) for found in splits.values()} == {1}


def test_only_fonts_of_listed_packages_are_embedded(columns: dict[str, list[Any]]) -> None:
    used = {source.partition("/")[0] for source in columns["source"]}
    assert used <= {package.lineage for package in read_packages() if package.style != "other"}


def test_held_out_images_do_not_nearly_equal_training_images(columns: dict[str, list[Any]]) -> None:
    vectors: dict[tuple[int, bool], list[np.ndarray[Any, Any]]] = defaultdict(list)
    for image, label, split in zip(columns["image"], columns["label"], columns["split"], strict=True):
        decoded = Image.open(io.BytesIO(image))
        assert (decoded.size, decoded.mode) == ((32, 32), "RGB")
        vectors[label, split == "train"].append(np.asarray(decoded, np.float32).ravel() / 255)
    for label in range(len(CLASSES)):
        assert distances(np.stack(vectors[label, False]), np.stack(vectors[label, True])).min() >= NEAR


def test_renderers_are_a_function_of_the_seed_and_differ() -> None:
    ink = torch.zeros(4, 1, 64, 64)
    ink[:, :, 12:52, 24:40] = 1
    pictures = {name: render(ink, Noise(3)) for name, render in DOMAINS.items()}
    for name, render in DOMAINS.items():
        assert pictures[name].shape == (4, 3, 32, 32)
        assert torch.equal(pictures[name], render(ink, Noise(3)))
    assert len({round(picture.mean().item(), 4) for picture in pictures.values()}) == len(DOMAINS)


def test_near_duplicates_of_training_glyphs_are_dropped_from_the_other_splits() -> None:
    split = {"a": "train", "b": "test", "c": "validation"}
    glyphs = [
        _glyph("a", ink=100),
        _glyph("b", ink=104),
        _glyph("b", ink=180),
        _glyph("c", ink=100),
        _glyph("b", 1, 100),
    ]
    split_of_class_1 = [*glyphs, _glyph("a", label=1, ink=200)]
    kept = [(g.lineage, g.label, int(g.ink[0, 0])) for g in drop_near_duplicates(split_of_class_1, split)]
    assert kept == [("a", 0, 100), ("b", 0, 180), ("a", 1, 200), ("b", 1, 100)]


def test_lineages_are_split_within_each_style() -> None:
    glyphs = [_glyph(f"{style}{index}", style=style) for style in ("text", "hand") for index in range(10)]
    split = split_lineages(glyphs, random.Random(0))
    for style in ("text", "hand"):
        assert Counter(part for name, part in split.items() if name.startswith(style)) == {
            "train": 6,
            "validation": 2,
            "test": 2,
        }


def test_pick_visits_lineages_in_turn_and_repeats_only_when_exhausted() -> None:
    glyphs = [_glyph("a", ink=value) for value in range(3)] + [_glyph("b")]
    assert Counter(g.lineage for g in pick(glyphs, 2, random.Random(0))) == {"a": 1, "b": 1}
    assert Counter(g.lineage for g in pick(glyphs, 8, random.Random(0))) == {"a": 6, "b": 2}
    with pytest.raises(ValueError, match="packages"):
        pick([], 1, random.Random(0))


def test_written_rows_come_back(tmp_path: Path) -> None:
    row = (encode(torch.rand(3, 32, 32)), 3, "C", "print", "train", "lato/Lato|C")
    write([row], tmp_path / "one.parquet")
    assert pq.read_table(tmp_path / "one.parquet").to_pylist() == [dict(zip(SCHEMA.names, row, strict=True))]


@pytest.mark.parametrize(
    ("character", "allowed"),
    [("A", False), ("\u0391", False), ("é", False), ("Ж", True), ("か", True)],
)
def test_pretraining_characters_are_unlike_the_classes(character: str, allowed: bool) -> None:
    assert is_unlike_latin(character) is allowed


def test_installed_fonts_of_a_package_are_found() -> None:
    packages = [package for package in read_packages() if package.name == "fonts-dejavu-core"]
    fonts = list(find_fonts(Path("/usr/share/fonts"), packages))
    if not fonts:
        pytest.skip("the Debian package fonts-dejavu-core is not installed")
    assert "DejaVu Sans Bold" in {font.name for font in fonts}
    assert all("A" in font.characters for font in fonts)
