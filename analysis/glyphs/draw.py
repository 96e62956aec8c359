"""Draws single characters as grey images."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 64
"""Side of a drawn glyph in pixels."""

MARGIN = 4
INK_RANGE = (0.04, 0.5)
"""Share of inked pixels outside which a glyph is blank, boxed or a dingbat."""


def load(path: Path) -> ImageFont.FreeTypeFont | None:
    """A font ready to draw, or None if it cannot be read."""
    try:
        return ImageFont.truetype(path, 2 * SIDE, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


def draw(font: ImageFont.FreeTypeFont, character: str) -> NDArray[np.uint8] | None:
    """A character (SIDE, SIDE), 0 paper and 255 ink, scaled to fill its picture; None for an unusable glyph."""
    try:
        left, top, right, bottom = font.getbbox(character)
        width, height = round(right - left), round(bottom - top)
        if not (2 < width < 12 * SIDE and 2 < height < 12 * SIDE):
            return None
        image = Image.new("L", (width + 8, height + 8), 0)
        ImageDraw.Draw(image).text((4 - left, 4 - top), character, font=font, fill=255)
    except (OSError, ValueError):
        return None
    box = image.point(lambda value: 255 if value > 127 else 0).getbbox()
    return None if box is None else _fit(image.crop(box))


def _fit(image: Image.Image) -> NDArray[np.uint8] | None:
    """The image scaled to the canvas, or None if its share of ink is out of range."""
    scale = (SIDE - 2 * MARGIN) / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("L", (SIDE, SIDE), 0)
    canvas.paste(image.resize((width, height), Image.Resampling.LANCZOS), ((SIDE - width) // 2, (SIDE - height) // 2))
    ink = np.asarray(canvas)
    low, high = INK_RANGE
    return ink if low < ink.mean() / 255 < high else None
