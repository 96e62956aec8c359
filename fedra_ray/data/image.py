"""Decoding an image, and bringing it to the size that the backbone takes."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT

from fedra_ray.config.errors import ImageError, error_text

#: Images (3, size, size) or (n, 3, size, size): bytes of 0 to 255, or float32 of about 0 to 1 if resized as `authors`.
Pixels = NDArray[np.uint8 | np.float32]

#: Formats that are decoded. Pillow knows more, among them one (EPS) for which it starts another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: More pixels than a photograph has: an image whose header states more is refused before memory is taken for it.
MAX_PIXELS = 2**27
_LEAST_WHITE = 2**14  # the brightest of 16 bits, in an image that really has 16
_DARK = "16 bits of which the upper ones are never used: store it in 8 bits, or state its white (MaxSampleValue)"
_MAX_SAMPLE_VALUE = 281  # a TIFF's tag that Pillow has no name for
_WHITES = {2**bits - 1 for bits in range(8, 17)}  # other numbers in that tag are the brightest of just this image


def pixel_type(resize: str) -> type[np.uint8 | np.float32]:
    """The type of the pixels that a way of resizing gives: interpolation without clamping leaves what bytes hold."""
    return np.float32 if resize == "authors" else np.uint8


def decode(content: bytes | Path, size: int, name: str, resize: str = "antialias") -> Pixels:
    """Decode an image as RGB and resize it (bicubic) to a square, whatever its proportions.

    Of an animation it is the first frame. Transparent pixels keep their colour, and an orientation that the file states
    (EXIF) turns nothing: torchvision's ImageFolder, and with it FedRA's code, does not turn images either.

    Greys of more than 8 bits count as shares of white. White is the largest number of 16 bits or of the bits that the
    file states (a TIFF's BitsPerSample or MaxSampleValue, a PGM's maximum); for floats it is 1, or 255 if some are
    larger than 1. An image is refused if that leaves in doubt which number is white: 16 bits of which the upper two are
    never used, 32-bit or signed integers, and floats beyond 255 or below 0.

    Args:
        content: An image file, or what it holds.
        size: Side of the square in pixels.
        name: Name of the image, for the message.
        resize: A value of `dataset.resize`.

    Returns:
        Pixels (3, size, size): uint8 of 0 to 255, or with `authors` float32 that goes a little beyond [0, 1].

    Raises:
        ImageError: naming the image, if it is missing, truncated, no image, larger than `MAX_PIXELS`, or in doubt about
            white.
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
    """Eight bits of red, green and blue."""
    if image.mode == "F" or image.mode.startswith("I"):  # convert() would clip them instead of scaling
        return Image.fromarray(_grey(image)).convert("RGB")
    if image.format == "TIFF" and 2 in image.tag_v2.get(SAMPLEFORMAT, ()):  # type: ignore[attr-defined]
        raise ValueError("signed numbers, of which none is known to be white")
    stored = str(image.tile[:1])  # type: ignore[attr-defined]
    cut = any(sixteen in stored for sixteen in (";16", "65535"))  # of such colours, Pillow drops the lower 8 bits
    if image.mode == "P":
        image = image.convert("RGBA")
    elif image.mode in ("La", "RGBa"):  # premultiplied, which has no way to RGB but this one
        image = image.convert(image.mode.upper())
    colours = image.convert("RGB")
    if cut and np.asarray(colours).max() < _LEAST_WHITE >> 8:
        raise ValueError(_DARK)
    return colours


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Greys (height, width) of an image with more than 8 bits."""
    values = np.asarray(image)
    tags = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    greys = _scaled_floats(values) if image.mode == "F" else _scaled_integers(values, image, tags)
    return 255 - greys if tags.get(PHOTOMETRIC_INTERPRETATION) == 0 else greys  # in a TIFF of that kind, white is 0


def _scaled_floats(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    largest = values.max()
    if not (values.min() >= 0 and largest <= 255):
        raise ValueError(f"floats from {values.min():g} to {largest:g}, neither in [0, 1] nor in [0, 255]")
    greys: NDArray[np.uint8] = np.rint(values * (255 if largest <= 1 else 1)).astype(np.uint8)
    return greys


def _scaled_integers(values: NDArray[Any], image: Image.Image, tags: Mapping[int, Any]) -> NDArray[np.uint8]:
    largest = int(values.max())
    white = 2**12 - 1 if tags.get(BITSPERSAMPLE) == (12,) else tags.get(_MAX_SAMPLE_VALUE, (0,))[0]
    if white in _WHITES:
        if not (values.min() >= 0 and largest <= white):
            raise ValueError(f"values from {values.min()} to {largest}, although white is {white}")
        return np.array(values.astype(np.int64) * 256 // (white + 1), dtype=np.uint8)
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # of these two, Pillow keeps 16 bits in 32
        raise ValueError("32-bit or signed integers, of which none is known to be white")
    if 0 < largest < _LEAST_WHITE:
        raise ValueError(_DARK)
    return np.array(values >> 8, dtype=np.uint8)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return error_text(error)
