"""One shard of a prepared data set: its images decoded, resized, encoded again, and written as Parquet."""

import dataclasses
import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from pyarrow import fs

from fedra_ray.config.paths import publish
from fedra_ray.data.dataset import Dataset
from fedra_ray.data.prepare.manifest import POSITION, to_json
from fedra_ray.data.prepare.progress import PreparedShard
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.source import ImageSource


def write_shard(config: PrepareConfig, dataset: Dataset, shard: PreparedShard, system: fs.FileSystem, path: str) -> int:
    """Decode, resize, encode and publish a shard, with a note of what became of its images.

    Returns:
        The number of images in it.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
    """
    key = shard.domain, shard.split
    labels = dataset.labels(*key)
    indices = np.argsort(labels, kind="stable")[shard.start : shard.stop]
    source = ImageSource(dataset, dataclasses.replace(config.dataset, cache=None, memory_mb=0), config.image_size)
    dataset.expect([(*key, indices)])
    encoded: list[bytes] = []
    kept: list[int] = []  # indices of the encoded images
    skipped: list[tuple[str, str]] = []
    moments = np.zeros((2, 3))
    for chunk in np.split(indices, range(config.group_images, len(indices), config.group_images)):
        images, good, unreadable = source.fetch(key, chunk)
        encoded += [_encode(pixels, config) for pixels in images[good]]
        kept += chunk[good].tolist()
        skipped += unreadable
        shares = images[good] / 255
        moments += [(shares**power).mean(axis=(2, 3)).sum(axis=0) for power in (1, 2)]
    content = _parquet(encoded, kept, labels[kept], dataset.classes, shard, config.group_images)
    present, counts = np.unique(labels[kept], return_counts=True)
    note = dataclasses.asdict(shard) | {
        "images": len(kept),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "labels": dict(zip(map(str, present), counts.tolist(), strict=True)),
        "moments": moments.tolist(),
        "skipped": skipped,
    }
    publish(system, f"{path}/{shard.file}", content)
    publish(system, f"{path}/{shard.file}.json", to_json(note))
    return len(kept)


def _encode(pixels: NDArray[np.uint8], config: PrepareConfig) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": config.quality} if config.format == "jpeg" else {}
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(buffer, config.format, **options)
    return buffer.getvalue()


def _parquet(
    encoded: list[bytes],
    positions: list[int],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    shard: PreparedShard,
    group_images: int,
) -> bytes:
    """The content of a shard's file.

    Args:
        encoded: Encoded images.
        positions: Their indices within the domain and split of the data set.
        labels: Their labels.
        classes: Names of the classes.
        shard: The shard.
        group_images: Images per row group.
    """
    table = pa.table(
        {
            "image": pa.array(encoded, pa.binary()),
            "label": pa.array(labels, pa.int32()),
            "label_name": pa.array([classes[label] for label in labels], pa.string()),
            "domain": pa.array([shard.domain] * len(labels), pa.string()),
            "split": pa.array([shard.split] * len(labels), pa.string()),
            POSITION: pa.array(positions, pa.int64()),
        }
    )
    words = ["label_name", "domain", "split"]
    compression = {name: "NONE" if name == "image" else "ZSTD" for name in table.column_names}
    buffer = io.BytesIO()
    options = {"compression": compression, "use_dictionary": words, "write_page_checksum": True}
    pq.write_table(table, buffer, row_group_size=group_images, **options)
    return buffer.getvalue()
