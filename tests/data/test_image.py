import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import KINDS, draw_shape

from fedra_ray.config.errors import ImageError
from fedra_ray.data.image import decode

ORANGE = (200, 100, 50)
GREY = 124  # of orange: 0.299 * 200 + 0.587 * 100 + 0.114 * 50
SHAPE = draw_shape(0, 0, np.random.default_rng(0))


def encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_becomes_rgb(kind: str) -> None:
    content = KINDS[kind][1](Image.new("RGB", (24, 18), ORANGE))
    with warnings.catch_warnings(action="error"):
        pixels = decode(content, 16, kind)
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == np.uint8
    expected = (GREY,) * 3 if kind.startswith("grey") else ORANGE
    assert np.abs(pixels - np.array(expected, dtype=int)[:, None, None]).max() <= 5


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        *((mode, "PNG") for mode in ("L", "LA", "P", "RGB", "RGBA")),
        *((mode, "TIFF") for mode in ("CMYK", "YCbCr", "L", "RGB")),
        *((mode, "WEBP") for mode in ("RGB", "RGBA")),
        ("P", "BMP"),
        ("L", "PPM"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, file_format: str) -> None:
    content = encode(Image.new("RGB", (4, 4), (200, 200, 200)).convert(mode), file_format)
    assert np.abs(decode(content, 4, "image").astype(int) - 200).max() <= 5


def test_black_and_white_becomes_rgb() -> None:
    image = Image.fromarray(np.array([[True, False], [False, True]]))
    assert decode(encode(image, "PNG"), 2, "image").tolist() == [[[255, 0], [0, 255]]] * 3


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_greys_are_scaled_and_not_clipped(file_format: str) -> None:
    image = Image.fromarray(np.array([[0, 255, 256], [25_700, 51_400, 65_535], [512, 0, 0]], dtype=np.uint16))
    assert decode(encode(image, file_format), 3, "image").tolist() == [[[0, 0, 1], [100, 200, 255], [2, 0, 0]]] * 3


def test_big_endian_16_bit_greys_are_scaled_too() -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes([100, 0, 200, 255]))
    assert decode(encode(image.resize((2, 2)), "TIFF"), 2, "image").tolist() == [[[100, 200], [100, 200]]] * 3


#: A row that goes from black to white, in shares.
RAMP = np.linspace(0, 1, 16)[None].repeat(16, 0)


def tiff(values: np.ndarray, **tags: int) -> bytes:
    """A TIFF of greys, with further tags by name."""
    numbers = {"MaxSampleValue": 281, "PhotometricInterpretation": 262}
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", tiffinfo={numbers[name]: value for name, value in tags.items()})
    return buffer.getvalue()


def packed_12_bits() -> bytes:
    """A TIFF whose rows have two greys in every three bytes."""
    first, second = (RAMP * 4095).astype(int).reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()
    whole = tiff((RAMP * 65535).astype(np.uint16))
    content = bytearray(whole)
    for tag, kind, value in ((258, 3, 12), (279, 4, len(packed))):  # BitsPerSample and StripByteCounts
        entry = struct.pack("<HHI", tag, kind, 1)
        place = content.index(entry) + len(entry)
        content[place : place + 4] = value.to_bytes(4, "little")
    (start,) = Image.open(io.BytesIO(whole)).tag_v2[273]
    content[start : start + len(packed)] = packed
    return bytes(content)


DEEP = {
    "16 bits": tiff((RAMP * 65535).astype(np.uint16)),
    "12 bits, packed": packed_12_bits(),
    "12 bits in 16, as stated": tiff((RAMP * 4095).astype(np.uint16), MaxSampleValue=4095),
    "10 bits in 16, as stated": tiff((RAMP * 1023).astype(np.uint16), MaxSampleValue=1023),
    "16 bits in 32, as stated": tiff((RAMP * 65535).astype(np.int32), MaxSampleValue=65535),
    "white is 0": tiff(((1 - RAMP) * 65535).astype(np.uint16), PhotometricInterpretation=0),
    "floats up to 1": tiff(RAMP.astype(np.float32)),
    "floats up to 255": tiff((RAMP * 255).astype(np.float32)),
    "a PGM up to 4095": b"P2 16 16 4095 " + " ".join(map(str, (RAMP * 4095).astype(int).ravel())).encode(),
}


@pytest.mark.parametrize("kind", DEEP)
def test_greys_of_any_depth_are_the_picture_of_8_bits(kind: str) -> None:
    pixels = decode(DEEP[kind], 16, "image")
    assert np.abs(pixels - RAMP * 255).max() <= 1.5
    assert (pixels.min(), pixels.max()) == (0, 255)


def rgb_16(largest: int) -> bytes:
    """A PNG of 16 bits a colour, whose values end there."""
    rows = (RAMP * largest).astype(">u2")[..., None].repeat(3, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_colours_of_16_bits_are_scaled() -> None:
    assert np.abs(decode(rgb_16(65535), 16, "image") - RAMP * 255).max() <= 1.5


DOUBTFUL = {
    "12 bits in 16": tiff((RAMP * 4095).astype(np.uint16)),
    "12 bits in 16, PNG": encode(Image.fromarray((RAMP * 4095).astype(np.uint16)), "PNG"),
    "12 bits in 16, colours": rgb_16(4095),
    "12 bits in 16, PPM": b"P3 16 16 65535 " + " ".join(map(str, (RAMP * 4095).astype(int).repeat(3))).encode(),
    "bytes in 16": tiff((RAMP * 255).astype(np.uint16)),
    "bytes in 32": tiff((RAMP * 255).astype(np.int32)),
    "32 bits": tiff((RAMP * (2**31 - 1)).astype(np.int32)),
    "more than the stated white": tiff((RAMP * 65535).astype(np.uint16), MaxSampleValue=4095),
    "floats below 0": tiff((RAMP - 0.5).astype(np.float32)),
    "floats up to 1000": tiff((RAMP * 1000).astype(np.float32)),
    "no numbers": tiff(np.full((16, 16), np.nan, dtype=np.float32)),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_an_image_whose_white_is_in_doubt_is_named(kind: str) -> None:
    with pytest.raises(ImageError, match=r"image deep\.tif: (16 bits|32-bit|values|floats)"):
        decode(DOUBTFUL[kind], 16, "deep.tif")


def test_a_black_image_is_black_in_any_depth() -> None:
    for kind in (np.uint16, np.float32):
        assert decode(tiff(np.zeros((4, 4), dtype=kind)), 4, "image").max() == 0


def test_an_orientation_that_the_file_states_turns_nothing() -> None:
    """As torchvision's ImageFolder reads it, which FedRA's code uses."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    buffer = io.BytesIO()
    SHAPE.save(buffer, "PNG", exif=exif)
    assert decode(buffer.getvalue(), 16, "turned").tolist() == decode(encode(SHAPE, "PNG"), 16, "plain").tolist()


def test_the_first_of_several_pictures_in_a_file_is_taken() -> None:
    for file_format in ("MPO", "TIFF", "GIF", "WEBP"):
        buffer = io.BytesIO()
        other = Image.new("RGB", SHAPE.size, ORANGE)
        SHAPE.copy().save(buffer, file_format, save_all=True, append_images=[other])  # copies: Pillow changes them
        difference = decode(buffer.getvalue(), 16, "image").astype(int) - decode(encode(SHAPE, "PNG"), 16, "image")
        assert np.abs(difference).mean() < 20


def test_transparent_pixels_keep_their_colour() -> None:
    assert decode(encode(Image.new("RGBA", (2, 2), (*ORANGE, 0)), "PNG"), 2, "image")[:, 0, 0].tolist() == [*ORANGE]


def test_half_transparent_colours_of_a_palette_are_kept_without_a_warning() -> None:
    buffer = io.BytesIO()
    SHAPE.quantize(8).save(buffer, "PNG", transparency=bytes([0, 128, 255]))
    expected = np.asarray(SHAPE.quantize(8).convert("RGB").resize((16, 16), Image.Resampling.BICUBIC))
    with warnings.catch_warnings(action="error"):
        assert decode(buffer.getvalue(), 16, "image").transpose(1, 2, 0).tolist() == expected.tolist()


def test_proportions_are_not_kept() -> None:
    """Left half black, right half white, three times as wide as high."""
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 15:] = 255
    pixels = decode(encode(Image.fromarray(wide), "PNG"), 8, "image")
    assert pixels[:, :, :3].max() == 0
    assert pixels[:, :, 5:].min() == 255


def test_resizing_is_bicubic() -> None:
    expected = np.asarray(SHAPE.resize((16, 16), Image.Resampling.BICUBIC))
    assert decode(encode(SHAPE, "PNG"), 16, "image").transpose(1, 2, 0).tolist() == expected.tolist()


def bicubic(pixels: np.ndarray, size: int) -> np.ndarray:
    """Cubic convolution (Keys 1981, a = -0.75) along the last axis at `size` places, whatever the spacing between."""
    places = (np.arange(size) + 0.5) * pixels.shape[-1] / size - 0.5
    result = np.zeros((*pixels.shape[:-1], size))
    for tap in range(-1, 3):
        position = np.floor(places).astype(int) + tap
        x = np.abs(places - position)
        near = (1.25 * x - 2.25) * x**2 + 1
        far = -0.75 * (((x - 5) * x + 8) * x - 4)
        result += np.where(x <= 1, near, far) * pixels[..., position.clip(0, pixels.shape[-1] - 1)]
    return result


@pytest.mark.parametrize("size", [8, 16, 31, 64])
def test_the_authors_resizing_interpolates_shares_without_antialiasing_or_clamping(size: int) -> None:
    shares = np.asarray(SHAPE).transpose(2, 0, 1) / 255
    expected = bicubic(bicubic(shares, size).swapaxes(1, 2), size).swapaxes(1, 2)
    found = decode(encode(SHAPE, "PNG"), size, "image", "authors")
    assert (found.dtype, found.shape) == (np.float32, (3, size, size))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found.min() < 0 or found.max() > 1 or size == 8


def test_an_image_of_the_right_size_is_the_same_by_both_ways_of_resizing() -> None:
    content = encode(SHAPE.resize((16, 16)), "PNG")
    shares = decode(content, 16, "image", "authors")
    assert (shares == decode(content, 16, "image").astype(np.float32) / np.float32(255)).all()


def test_a_file_and_its_bytes_are_the_same_image(tmp_path: Path) -> None:
    content = encode(SHAPE, "JPEG")
    (tmp_path / "image.jpg").write_bytes(content)
    assert decode(tmp_path / "image.jpg", 16, "file").tolist() == decode(content, 16, "bytes").tolist()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"image cat\.jpg: no such file; dataset\.on_error=skip"):
        decode(tmp_path / "cat.jpg", 16, "cat.jpg")


@pytest.mark.parametrize("content", [b"", b"not an image"], ids=["empty", "text"])
def test_what_is_no_image_is_named(content: bytes) -> None:
    with pytest.raises(ImageError, match=r"image cat\.jpg: not an image of a known format"):
        decode(content, 16, "cat.jpg")


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_image_is_named(kind: str) -> None:
    content = KINDS[kind][1](SHAPE)
    with pytest.raises(ImageError, match=r"image cat\.jpg: \w+"):
        decode(content[: len(content) // 2], 16, "cat.jpg")


def test_an_image_too_large_to_be_true_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match=r"image cat\.png: .*decompression bomb"):
        decode(encode(Image.new("L", (5, 5)), "PNG"), 16, "cat.png")


@given(
    kind=st.sampled_from(sorted(KINDS)),
    length=st.floats(0, 1),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=300)
@pytest.mark.filterwarnings("ignore")
def test_damage_gives_an_image_or_an_image_error(kind: str, length: float, changes: list[tuple[int, int]]) -> None:
    content = bytearray(KINDS[kind][1](SHAPE))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        pixels = decode(bytes(content[: round(length * len(content))]), 8, "image")
    except ImageError:
        return
    assert pixels.shape == (3, 8, 8)
