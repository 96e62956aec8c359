"""The six domains: whose drawings, and how they are put on paper."""

import random
from dataclasses import dataclass

from PIL import Image

from analysis.artwork.draw import draw

SIDE = 60
"""Side of the images in pixels."""

_ENLARGED = 2 * SIDE
_DEGREES, _SCALE, _SHIFT = 15.0, 0.15, 0.06


@dataclass(frozen=True)
class Style:
    """How a domain looks.

    Attributes:
        package: Short name of the package whose drawings it shows.
        ink: Colour of what the drawings leave to their user.
        paper: Colour of the background.
        grid: Side in pixels of the coarse grid that the drawing is put on; None for none.
    """

    package: str
    ink: str = "#000000"
    paper: str = "#ffffff"
    grid: int | None = None

    def enlarged(self, svg: str) -> Image.Image:
        """A drawing at twice the size of the images."""
        return draw(svg, _ENLARGED, self.paper)

    def finished(self, enlarged: Image.Image) -> Image.Image:
        """An image of the domain."""
        small = enlarged.resize((self.grid or SIDE,) * 2, Image.Resampling.BOX)
        return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)

    def moved(self, enlarged: Image.Image, rng: random.Random) -> Image.Image:
        """A copy that is turned, shifted, resized and perhaps mirrored, on the same paper."""
        image = enlarged.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else enlarged
        scale = 1 - _SCALE * rng.random()
        inner = round(_ENLARGED * scale)
        image = image.resize((inner, inner), Image.Resampling.BICUBIC)
        sheet = Image.new("RGB", (_ENLARGED, _ENLARGED), self.paper)
        shift = [round((rng.random() * 2 - 1) * _SHIFT * _ENLARGED) + (_ENLARGED - inner) // 2 for _ in range(2)]
        sheet.paste(image, (shift[0], shift[1]))
        angle = (rng.random() * 2 - 1) * _DEGREES
        return sheet.rotate(angle, Image.Resampling.BICUBIC, fillcolor=self.paper)


DOMAINS: dict[str, Style] = {
    "blueprint": Style("emojione-monotone", ink="#ffffff", paper="#1f4fa3"),
    "contrast": Style("fluent-emoji-high-contrast"),
    "flat": Style("twemoji"),
    "glossy": Style("noto"),
    "pixel": Style("fluent-emoji-flat", grid=20),
    "shaded": Style("fluent-emoji"),
}
