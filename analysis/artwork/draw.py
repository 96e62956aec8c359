"""Draws SVG documents as images."""

import io

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def draw(svg: str, side: int, paper: str = "#ffffff") -> Image.Image:
    """An RGB image (side x side) of an SVG document on paper of one colour, in its own proportions, centred.

    Raises:
        ValueError: if the renderer cannot read the document.
    """
    encoded = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, background=paper))
    drawn = Image.open(io.BytesIO(encoded)).convert("RGB")
    if drawn.size == (side, side):
        return drawn
    drawn.thumbnail((side, side), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), paper)
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square
