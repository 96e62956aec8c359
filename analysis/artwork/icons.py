"""Drawings of an icon set in Iconify's JSON format."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.artwork.packages import read_json

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}" color="{ink}">{body}</svg>'
)
_SIDE = 16  # Iconify's default width and height
_OTHER = re.compile(r"[^a-z0-9]+")


def slug(name: str) -> str:
    """A name as Iconify writes it: lower case, words joined with hyphens."""
    return _OTHER.sub("-", re.sub(r"['\u2019]", "", name.lower())).strip("-")


def plain(hexcode: str) -> str:
    """An emoji's code points in lower case, without the variation selector that only asks for colour."""
    return "-".join(point for point in hexcode.lower().split("-") if point != "fe0f")


class IconSet:
    """The drawings of one package.

    Args:
        archive: The package's archive.
    """

    def __init__(self, archive: Path) -> None:
        self._set: dict[str, Any] = read_json(archive, "icons.json")
        self._names = {plain(code): name for code, name in read_json(archive, "chars.json").items()}

    def names(self) -> Iterator[str]:
        """Names of the drawings, without aliases."""
        yield from self._set["icons"]

    def find(self, hexcode: str, label: str) -> str | None:
        """The drawing of an emoji by its code points, else by its name; None if the set has none."""
        for name in (self._names.get(plain(hexcode)), slug(label)):
            if name in self._set["icons"]:
                return name
            parent = self._set.get("aliases", {}).get(name)
            if parent is not None and set(parent) == {"parent"} and parent["parent"] in self._set["icons"]:
                return str(parent["parent"])
        return None

    def svg(self, name: str, ink: str = "black") -> str:
        """A drawing as an SVG document; `ink` is the colour of what the set leaves to its user."""
        icon = self._set["icons"][name]
        width, height = (icon.get(key, self._set.get(key, _SIDE)) for key in ("width", "height"))
        left, top = icon.get("left", 0), icon.get("top", 0)
        return _SVG.format(left=left, top=top, width=width, height=height, ink=ink, body=icon["body"])
