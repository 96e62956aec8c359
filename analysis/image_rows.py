"""The Parquet files of the embedded data sets: one row per image."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("image", pa.binary()),
        ("label", pa.int32()),
        ("label_name", pa.string()),
        ("domain", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
    ]
)

Row = tuple[bytes, int, str, str, str, str]


def write(rows: Sequence[Row], path: Path) -> None:
    """Write rows as one Parquet file; only the other columns are compressed, since images are already."""
    columns = list(zip(*rows, strict=True))
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
    others = {name: "zstd" for name in SCHEMA.names if name != "image"}
    pq.write_table(table, path, compression={"image": "none", **others}, use_dictionary=SCHEMA.names[1:])
