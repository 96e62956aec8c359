"""How long Parquet data take to open, against reading their columns, and how fast a client's pass reads row groups.

    python -m analysis.benchmark.opening

Opening must be linear in rows, whatever the number of domains: the last case has FEMNIST's. A pass takes the images of
one domain of four, shuffled, in batches of 32; a row group should be read once, so that its size costs little.
"""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from analysis.benchmark.report import parser, show, take_turns
from fedra_ray.data.parquet import ParquetDataset

OPENED = ((50_000, 10), (200_000, 2_000), (810_000, 3_600))  # rows, domains
GROUPS = (64, 100, 1_000, 4_000)  # rows of a group
IMAGES, IMAGE_BYTES, BATCH = 4_000, 45_000, 32
SIDE = 4  # pixels: decoding takes next to nothing


def write(folder: Path, rows: int, domains: int, group: int, images: list[bytes]) -> str:
    """A file of rows in blocks of ten by domain; what is in an image does not matter here."""
    number = np.arange(rows)
    columns = {
        "image": pa.array([images[row % len(images)] for row in range(rows)], pa.binary()),
        "label": number % 10,
        "domain": [f"writer_{domain:05}" for domain in number // 10 % domains],
    }
    file = folder / f"{rows}-{domains}-{group}.parquet"
    pq.write_table(pa.table(columns), file, group, use_dictionary=["domain"])
    return str(file)


def opening(folder: Path, rows: int, domains: int, repeats: int) -> dict[str, Any]:
    """Seconds to open a file, and to read its columns of words with pyarrow."""
    file = write(folder, rows, domains, 1_000, [b"image"])
    functions = (lambda: ParquetDataset(file, SIDE), lambda: pq.read_table(file, columns=["label", "domain"]))
    ours, columns = take_turns(functions, repeats)
    return {"rows": rows, "domains": domains, "open, s": ours, "columns, s": columns, "times as long": ours / columns}


def reading(folder: Path, rows: int, group: int, repeats: int) -> dict[str, Any]:
    """Images a second of a client's pass, against reading the column of all images once."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.new("L", (SIDE, SIDE)).save(buffer, "PNG")
    file = write(folder, rows, 4, group, [buffer.getvalue() + rng.bytes(IMAGE_BYTES) for _ in range(50)])
    count = len(ParquetDataset(file, SIDE).labels("writer_00000", "train"))
    order = rng.permutation(count)
    batches = np.split(order, range(BATCH, count, BATCH))

    def a_pass() -> None:
        dataset = ParquetDataset(file, SIDE)
        dataset.expect([("writer_00000", "train", batch) for batch in batches])
        for batch in batches:
            dataset.images("writer_00000", "train", batch)

    ours, opened, column = take_turns(
        (a_pass, lambda: ParquetDataset(file, SIDE), lambda: pq.read_table(file, columns=["image"])), repeats
    )
    seconds = max(ours - opened, 1e-9)
    return {
        "rows a group": group,
        "images/s": count / seconds,
        "pass, s": seconds,
        "times the column": seconds / column,
    }


def main() -> None:
    """Measure, print and write; the second table has `-groups` in its name."""
    arguments = parser(__doc__, "opening")
    arguments.set_defaults(repeats=3)
    settings = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        opened = [opening(Path(folder), *case, settings.repeats) for case in OPENED]
        read = [reading(Path(folder), IMAGES, group, settings.repeats) for group in GROUPS]
    show("Opening Parquet data", opened, settings.out)
    show(
        f"A pass over encoded images of {IMAGE_BYTES // 1000} kB",
        read,
        settings.out.with_stem(f"{settings.out.stem}-groups"),
    )


if __name__ == "__main__":
    main()
