"""The six domains: how drawings look there and are put on paper."""

import random
import re
from dataclasses import dataclass

from PIL import Image

SIDE = 60
"""Side of the images in pixels."""

ENLARGED = 2 * SIDE
"""Side of a drawing before it becomes an image of a domain."""

_DEGREES, _SCALE, _SHIFT = 15.0, 0.15, 0.06

_SOLID = re.compile(r"(^|-)(fill|filled|solid|bold|bxs)(-|$)")
_MIXED = re.compile(r"(^|-)(duotone|twotone|two-tone|broken)(-|$)")
_LINE = re.compile(r"(^|-)(outline|outlined|regular|light|thin|line|linear)(-|$)")


@dataclass(frozen=True)
class Style:
    """How a domain looks.

    Attributes:
        ink: Colour of what the drawings leave to their user.
        paper: Colour of the background.
        grid: Side in pixels of the coarse grid that the drawing is put on; None for none.
        without: Names of drawings that look otherwise, such as solid ones among lines.
    """

    ink: str = "#000000"
    paper: str = "#ffffff"
    grid: int | None = None
    without: re.Pattern[str] = _MIXED

    def shows(self, name: str) -> bool:
        """Whether a drawing of one of its packages looks as the domain does, by its name."""
        return not self.without.search(name) and not _MIXED.search(name)

    def finished(self, enlarged: Image.Image) -> Image.Image:
        """An image of the domain."""
        small = enlarged.resize((self.grid or SIDE,) * 2, Image.Resampling.BOX)
        return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)

    def moved(self, enlarged: Image.Image, rng: random.Random) -> Image.Image:
        """A copy that is turned, shifted, resized and perhaps mirrored, on the same paper."""
        image = enlarged.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else enlarged
        scale = 1 - _SCALE * rng.random()
        inner = round(ENLARGED * scale)
        image = image.resize((inner, inner), Image.Resampling.BICUBIC)
        sheet = Image.new("RGB", (ENLARGED, ENLARGED), self.paper)
        shift = [round((rng.random() * 2 - 1) * _SHIFT * ENLARGED) + (ENLARGED - inner) // 2 for _ in range(2)]
        sheet.paste(image, (shift[0], shift[1]))
        angle = (rng.random() * 2 - 1) * _DEGREES
        return sheet.rotate(angle, Image.Resampling.BICUBIC, fillcolor=self.paper)


DOMAINS: dict[str, Style] = {
    "blueprint": Style(ink="#ffffff", paper="#1f4fa3", without=_LINE),
    "flat": Style(),
    "glossy": Style(),
    "line": Style(without=_SOLID),
    "night": Style(ink="#ffffff", paper="#000000"),
    "pixel": Style(grid=20),
}
"""The domains by name; packages.yaml says whose drawings each shows."""
