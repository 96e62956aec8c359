"""Finds usable fonts of the listed Debian packages."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fontTools.ttLib import TTFont, TTLibError

PACKAGES = Path(__file__).with_name("packages.txt")
_NO_LETTERS = re.compile(
    r"Symbol|D0500|Math|Keyboard|Nushu|Initial|Caps\b|Smallcaps|Dingbat|Emoji|punt|pautada|guiada|Signwriting|Blank",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Package:
    """One Debian package of fonts.

    Attributes:
        name: Debian's name.
        licence: licence of the fonts.
        style: "text", "hand" or "other".
        lineage: packages drawn from the same outlines share it; data are split by lineage.
    """

    name: str
    licence: str
    style: str
    lineage: str


@dataclass(frozen=True)
class Font:
    """A font file and the characters it draws."""

    path: Path
    package: Package
    name: str
    characters: frozenset[str]


def read_packages(path: Path = PACKAGES) -> list[Package]:
    """Packages of a list: name, licence, style and, where it differs from the name, the lineage."""
    packages = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, licence, style, *lineage = line.split()
            short = re.sub(r"^(fonts|ttf)-", "", name)
            packages.append(Package(name, licence, style, lineage[0] if lineage else short))
    return packages


def _files(package: Package, root: Path) -> list[Path]:
    """The font files of an installed package below `root`, sorted; none if it is not installed."""
    listing = subprocess.run(
        ["dpkg-query", "--listfiles", package.name], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    paths = (Path(line) for line in listing)
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in (".ttf", ".otf") and path.is_relative_to(root) and not path.is_symlink()
    )


def _open(path: Path, package: Package) -> Font | None:
    """Name and characters of a font file, or None for a broken one or one without ordinary letters."""
    try:
        with TTFont(path, lazy=True) as font:
            table = font["name"]
            family = table.getDebugName(16) or table.getDebugName(1) or path.stem
            style = table.getDebugName(17) or table.getDebugName(2) or "Regular"
            characters = frozenset(map(chr, font.getBestCmap() or {}))
    except (TTLibError, KeyError, AssertionError):
        return None
    name = f"{family} {style}"
    return None if _NO_LETTERS.search(name) else Font(path, package, name, characters)


def find_fonts(root: Path, packages: list[Package] | None = None) -> Iterator[Font]:
    """Fonts of the listed packages that are installed below `root`, in a fixed order; each name once per package."""
    for package in packages or read_packages():
        seen: set[str] = set()
        for path in _files(package, root):
            font = _open(path, package)
            if font is not None and font.name not in seen:
                seen.add(font.name)
                yield font
