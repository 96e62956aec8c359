"""Decoding an image."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fedra_ray.config.errors import ImageError, error_text

#: Formats that are decoded. Pillow knows more, among them one (EPS) for which it starts another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: More pixels than a photograph has: an image whose header states more is refused before memory is taken for it.
MAX_PIXELS = 2**27


def decode(content: bytes | Path, size: int, name: str) -> NDArray[np.uint8]:
    """Decode an image as RGB and resize it (bicubic) to a square, whatever its proportions.

    Args:
        content: An image file, or what it holds.
        size: Side of the square in pixels.
        name: Name of the image, for the message.

    Returns:
        Pixels (3, size, size).

    Raises:
        ImageError: naming the image, if it is missing, truncated, no image, or larger than `MAX_PIXELS`.
    """
    try:
        if isinstance(content, Path) and not content.is_file() and content.exists():
            raise OSError("not a regular file")  # reading from a pipe would wait for ever
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} pixels are more than {MAX_PIXELS}")
            image = _rgb(opened)
    except Exception as error:  # Pillow's decoders raise errors of all kinds for damaged files
        raise ImageError(name, _reason(error)) from error
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # convert() would clip 16 bits to the lowest 255 values instead of scaling them
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return error_text(error)
