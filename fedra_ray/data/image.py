"""Decoding an image, and bringing it to the size that the backbone takes."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fedra_ray.config.errors import ImageError, error_text

#: Images (3, size, size) or (n, 3, size, size): bytes of 0 to 255, or float32 of about 0 to 1 if resized as `authors`.
Pixels = NDArray[np.uint8 | np.float32]

#: Formats that are decoded. Pillow knows more, among them one (EPS) for which it starts another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: More pixels than a photograph has: an image whose header states more is refused before memory is taken for it.
MAX_PIXELS = 2**27


def pixel_type(resize: str) -> type[np.uint8 | np.float32]:
    """The type of the pixels that a way of resizing gives: interpolation without clamping leaves what bytes hold."""
    return np.float32 if resize == "authors" else np.uint8


def decode(content: bytes | Path, size: int, name: str, resize: str = "antialias") -> Pixels:
    """Decode an image as RGB and resize it (bicubic) to a square, whatever its proportions.

    Args:
        content: An image file, or what it holds.
        size: Side of the square in pixels.
        name: Name of the image, for the message.
        resize: A value of `dataset.resize`.

    Returns:
        Pixels (3, size, size): uint8 of 0 to 255, or with `authors` float32 that goes a little beyond [0, 1].

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
    if resize == "authors":
        return _interpolated(image, size)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def _interpolated(image: Image.Image, size: int) -> NDArray[np.float32]:
    """What torchvision's ToTensor and Resize without antialiasing make of an image."""
    import torch  # here: preparing a data set needs none of it

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255
    if pixels.shape[1:] != (size, size):
        pixels = torch.nn.functional.interpolate(pixels[None], (size, size), mode="bicubic", align_corners=False)[0]
    interpolated: NDArray[np.float32] = pixels.numpy()
    return interpolated


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
