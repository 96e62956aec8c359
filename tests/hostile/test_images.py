"""Image files of a stranger: each becomes pixels or an `ImageError` that names it; none hangs, runs or fills memory."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import draw_shape

from fedra_ray.config.errors import ImageError
from fedra_ray.data.image import MAX_PIXELS, decode

SHAPE = draw_shape(1, 2, np.random.default_rng(0))


def encoded(kind: str, image: Image.Image = SHAPE, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes = b"", *before: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8-bit greys whose header claims this size; further chunks come before the data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    chunks = [png_chunk(*chunk) for chunk in (*before, (b"IDAT", zlib.compress(data)), (b"IEND", b""))]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


def gif_with_frame_beyond_the_canvas() -> bytes:
    """A GIF of 4 x 4 whose only frame claims 65535 x 65535 at (65535, 65535)."""
    return b"GIF89a\4\0\4\0\x80\0\0\0\0\0\xff\xff\xff,\xff\xff\xff\xff\xff\xff\xff\xff\0\2\2D\1\0;"


def tiff(width: int, height: int, **changed: int) -> bytes:
    """An uncompressed TIFF of 8-bit greys with no data; tags may be changed."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: width * height}
    tags |= {int(tag.removeprefix("tag")): value for tag, value in changed.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value % 2**32) for tag, value in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


REFUSED: dict[str, bytes] = {
    **{f"PNG cut at {tenth}0%": encoded("PNG")[: len(encoded("PNG")) * tenth // 10] for tenth in range(10)},
    **{f"JPEG cut at {tenth}0%": encoded("JPEG")[: len(encoded("JPEG")) * tenth // 10] for tenth in range(10)},
    "PNG of 60000 x 60000": png(60_000, 60_000),
    "PNG of 2^31 pixels in a row": png(2**31 - 1, 1),
    "PNG just above the bound": png(2**14, 2**13 + 1),
    "PNG of width 0": png(0, 10),
    "PNG of height 0": png(10, 0),
    "PNG with a gigabyte of text": png(4, 4, b"\0" * 20, (b"zTXt", b"a\0\0" + zlib.compress(b"a" * 2**27))),
    "PNG with a bomb for a profile": png(4, 4, b"\0" * 20, (b"iCCP", b"a\0\0" + zlib.compress(b"a" * 2**27))),
    "PNG with a damaged header": png(4, 4).replace(b"IHDR", b"IHDX"),
    "GIF with a frame beyond the canvas": gif_with_frame_beyond_the_canvas(),
    "TIFF of 60000 x 60000": tiff(60_000, 60_000),
    "TIFF without its data": tiff(100, 100),
    "TIFF of 2^32-1 samples a pixel": tiff(4, 4, tag277=2**32 - 1),
    "BMP of -2^31 rows": encoded("BMP")[:22] + struct.pack("<i", -(2**31)) + encoded("BMP")[26:],
    "PPM of 10^9 x 10^9": b"P6 1000000000 1000000000 255\n",
    "PPM without end": b"P6 " + b"1" * 10_000,
    "WebP of a header alone": encoded("WEBP")[:30],
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) print\n%%EOF\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "HTML": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "text": b"this is not an image",
    "UTF-16 text": "this is not an image".encode("utf-16"),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "zeros": b"\0" * 1000,
    "nothing": b"",
    "a ZIP archive": b"PK\x03\x04" + b"\0" * 100,
    "a pickle": b"cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of an image that is large before it is refused
@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_image_is_refused_by_name(case: str) -> None:
    with pytest.raises(ImageError, match=r"image cat\.jpg: \S.*; dataset\.on_error=skip"):
        decode(REFUSED[case], 16, "cat.jpg")


#: Odd files that are images all the same.
ACCEPTED: dict[str, bytes] = {
    "palette of one colour": encoded("PNG", Image.new("P", (4, 4))),
    "1 bit": encoded("PNG", Image.new("1", (4, 4))),
    "CMYK": encoded("JPEG", Image.new("CMYK", (4, 4))),
    "16 bit": encoded("PNG", Image.new("I;16", (4, 4))),
    "32-bit floats": encoded("TIFF", Image.new("F", (4, 4))),
    "CIE Lab": encoded("TIFF", Image.new("LAB", (4, 4))),
    "one pixel": encoded("PNG", Image.new("L", (1, 1))),
    "a line of pixels": encoded("PNG", Image.new("L", (30_000, 1))),
    "a thousand frames": encoded("GIF", save_all=True, append_images=[SHAPE] * 20),
    "TIFF that follows itself": tiff(4, 4)[:-4] + struct.pack("<I", 8),
    "MPO": encoded("MPO", save_all=True, append_images=[SHAPE]),
    "EXIF junk": encoded("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 100),
    "EXIF that follows itself": encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0i\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"),
    "ICC junk": encoded("JPEG", icc_profile=b"\xff" * 300),
    "a comment of HTML": encoded("JPEG", comment=b"<script>alert(1)</script>"),
    "more after the end": encoded("PNG") + b"PK\x03\x04" + b"\0" * 1000,
    "a claim of wrong lengths": encoded("JPEG").replace(b"\xff\xda", b"\xff\xfe\x00\x04ab\xff\xda", 1),
}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of the junk
@pytest.mark.parametrize("case", ACCEPTED)
def test_an_odd_image_is_decoded_all_the_same(case: str) -> None:
    assert decode(ACCEPTED[case], 16, "cat.jpg").shape == (3, 16, 16)


def test_an_image_at_the_bound_is_not_refused_for_its_size() -> None:
    with pytest.raises(ImageError) as refusal:
        decode(png(MAX_PIXELS // 2**13, 2**13), 16, "cat.png")
    assert "pixels are more than" not in str(refusal.value)


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    """There are no pixels behind the header: had they been looked for, the message would be another."""
    with pytest.raises(ImageError, match="16384 x 8193 pixels are more than 134217728"):
        decode(png(2**14, 2**13 + 1), 16, "bomb.png")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    os.mknod(path, 0o140644)


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, make_folder, make_loop, make_link_to_device, make_socket, Path.touch],
    ids=lambda make: make.__name__,
)
def test_what_is_no_regular_file_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "cat.jpg")
    with pytest.raises(ImageError, match=r"cat\.jpg"):
        decode(tmp_path / "cat.jpg", 16, "cat.jpg")


def test_an_image_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "cat.jpg").write_bytes(encoded("JPEG"))
    (tmp_path / "cat.jpg").chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        decode(tmp_path / "cat.jpg", 16, "cat.jpg")


MAGIC = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"P6 ", b"RIFF\x40\0\0\0WEBPVP8 "]


@given(magic=st.sampled_from([b"", *MAGIC]), content=st.binary(max_size=300))
@example(magic=b"P6 ", content=b"9 9 65535\n")
@settings(max_examples=300)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_an_image_or_an_image_error(magic: bytes, content: bytes) -> None:
    try:
        pixels = decode(magic + content, 8, "image")
    except ImageError:
        return
    assert pixels.shape == (3, 8, 8)
