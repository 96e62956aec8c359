"""Drawings of an icon set in Iconify's JSON format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.artwork.packages import read_json

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}" color="{ink}">{body}</svg>'
)
_SIDE = 16  # Iconify's default width and height


class IconSet:
    """The drawings of one package.

    Args:
        archive: The package's archive.
    """

    def __init__(self, archive: Path) -> None:
        self._set: dict[str, Any] = read_json(archive, "icons.json")

    def names(self) -> Iterator[str]:
        """Names of the drawings, without aliases."""
        yield from self._set["icons"]

    def svg(self, name: str, ink: str = "black") -> str:
        """A drawing as an SVG document; `ink` is the colour of what the set leaves to its user."""
        icon = self._set["icons"][name]
        width, height = (icon.get(key, self._set.get(key, _SIDE)) for key in ("width", "height"))
        left, top = icon.get("left", 0), icon.get("top", 0)
        return _SVG.format(left=left, top=top, width=width, height=height, ink=ink, body=icon["body"])
