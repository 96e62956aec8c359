"""A data set decoded and resized once, into Parquet shards that a run can read in place of the original files.

Pure of Ray: what the shards are, how one is written, and what is left to do. A shard is published only when complete,
with a note beside it; the notes become the manifest when all are there. So an interrupted preparation loses and
repeats nothing, and a folder without a manifest is never taken for a data set.
"""

import dataclasses
import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from pyarrow import fs

from fedra_ray.config.bounds import setting
from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import publish
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.config.validation import check_bounds, check_sizes, check_types
from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.data.prepare.manifest import DAMAGE, MANIFEST, PLAN, POSITION, read
from fedra_ray.data.source import ImageSource

FORMATS = ("jpeg", "png")


@dataclass
class PrepareConfig:
    """What to prepare, and how.

    Attributes:
        dataset: The data set as it is.
        out: Folder for the shards: a path or a pyarrow.fs URI.
        image_size: Side of the stored images in pixels; the input size of the backbone, then runs resize nothing.
        format: jpeg, or png to keep every bit.
        quality: Of jpeg, from 1 to 100.
        shard_images: Images per shard.
        group_images: Images per row group, the least that a run reads at once.
        address: local, auto, or the address of a Ray cluster; null means auto inside a Ray job and local elsewhere.
    """

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    out: str = ""
    image_size: int = setting(224, minimum=1, maximum=4096)
    format: str = setting("jpeg", choices=FORMATS)
    quality: int = setting(95, minimum=1, maximum=100)
    shard_images: int = setting(2048, minimum=1)
    group_images: int = setting(64, minimum=1)
    address: str | None = None


@dataclass(frozen=True)
class Shard:
    """Images start to stop of a domain and split, sorted by label so that label skew keeps row groups apart."""

    file: str
    domain: str
    split: str
    start: int
    stop: int


#: What the note beside a shard tells: the shard, and what became of its images.
NOTE = {field.name for field in dataclasses.fields(Shard)} | {
    *("images", "bytes", "sha256", "labels", "moments", "skipped"),
}


def check(config: PrepareConfig) -> None:
    """Refuse values that cannot work.

    Raises:
        SettingError: for the first one.
    """
    if not config.out:
        raise SettingError("out", config.out, "name a folder or a pyarrow.fs URI for the shards")
    check_types(config)
    check_bounds(config)
    check_sizes(config)


def plan(config: PrepareConfig, dataset: Dataset) -> list[Shard]:
    """All shards, in the order of their files' names."""
    shards: list[Shard] = []
    for domain in dataset.domains:
        for split in SPLITS:
            count = len(dataset.labels(domain, split))
            for start in range(0, count, config.shard_images):
                name = re.sub(r"[^\w-]+", "_", domain)
                file = f"{len(shards):05}-{name}-{split}.parquet"
                shards.append(Shard(file, domain, split, start, min(start + config.shard_images, count)))
    return shards


def begin(config: PrepareConfig, shards: list[Shard], system: fs.FileSystem, path: str) -> bool:
    """Claim the folder; returns whether it was prepared to the end before.

    Raises:
        SettingError: if it holds a preparation with other settings, or something else, or cannot be a folder.
    """
    settings = _settings(config)
    listed = [dataclasses.asdict(shard) for shard in shards]
    try:
        system.create_dir(path, recursive=True)
        present = {info.base_name for info in system.get_file_info(fs.FileSelector(path))}
    except OSError as error:
        raise SettingError("out", config.out, f"is no folder that can be made: {error}") from error
    if PLAN in present:
        found = _plan(config, system, path)
        for name, value in settings.items():
            if found[name] != value:
                allowed = f"{config.out} holds a preparation with {name}={found[name]}; choose another out"
                raise SettingError(name, value, allowed)
        if found["shards"] != listed:
            raise SettingError("out", config.out, "holds a preparation of other images; the data set has changed since")
    elif present:
        raise SettingError("out", config.out, "holds other files; name a new or empty folder")
    else:
        publish(system, f"{path}/{PLAN}", _json(settings | {"shards": listed}))
    return MANIFEST in present


def _plan(config: PrepareConfig, system: fs.FileSystem, path: str) -> dict[str, Any]:
    """What an earlier preparation of the folder set out to do."""
    try:
        found: dict[str, Any] = dict(read(system, f"{path}/{PLAN}"))
    except DAMAGE as error:
        raise SettingError("out", config.out, f"its {PLAN} is damaged; name a new or empty folder") from error
    if found.keys() != {*_settings(config), "shards"}:
        raise SettingError("out", config.out, f"its {PLAN} is of another version; name a new or empty folder")
    return found


def is_done(shard: Shard, system: fs.FileSystem, path: str) -> bool:
    """Whether the shard is there, whole and with the bytes that its note tells."""
    note_file, file = f"{path}/{shard.file}.json", f"{path}/{shard.file}"
    if any(info.type != fs.FileType.File for info in system.get_file_info([note_file, file])):
        return False
    try:
        note = dict(read(system, note_file))
    except DAMAGE:
        return False
    with system.open_input_stream(file) as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
    return note.keys() == NOTE and note.items() >= (dataclasses.asdict(shard) | {"sha256": digest}).items()


def write_shard(config: PrepareConfig, dataset: Dataset, shard: Shard, system: fs.FileSystem, path: str) -> int:
    """Decode, resize, encode and publish a shard; returns its number of images.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
    """
    key = shard.domain, shard.split
    labels = dataset.labels(*key)
    indices = np.argsort(labels, kind="stable")[shard.start : shard.stop]
    source = ImageSource(dataset, dataclasses.replace(config.dataset, cache=None, memory_mb=0), config.image_size)
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
    publish(system, f"{path}/{shard.file}.json", _json(note))
    return len(kept)


def finish(
    config: PrepareConfig, dataset: Dataset, shards: list[Shard], system: fs.FileSystem, path: str
) -> dict[str, Any]:
    """Publish and return the manifest: what was prepared, statistics, and every shard with its checksum."""
    notes = [read(system, f"{path}/{shard.file}.json") for shard in shards]
    images = sum(note["images"] for note in notes)
    counts = {domain: dict.fromkeys(SPLITS, 0) for domain in dataset.domains}
    for note in notes:
        counts[note["domain"]][note["split"]] += note["images"]
    mean, squares = np.sum([note.pop("moments") for note in notes], axis=0) / max(1, images)
    manifest = {
        "dataset": dataclasses.asdict(config.dataset),
        "image_size": config.image_size,
        "format": config.format,
        "domains": list(dataset.domains),
        "classes": list(dataset.classes),
        "images": images,
        "images_by_domain": counts,
        "channel_mean": mean.tolist(),
        "channel_std": np.sqrt(np.maximum(squares - mean**2, 0)).tolist(),
        "skipped": [entry for note in notes for entry in note.pop("skipped")],
        "shards": [note for note in notes if note["images"]],
    }
    publish(system, f"{path}/{MANIFEST}", _json(manifest))
    for shard in shards:
        system.delete_file(f"{path}/{shard.file}.json")
    return manifest


def _settings(config: PrepareConfig) -> dict[str, Any]:
    """What decides the bytes of the shards, as JSON gives it back."""
    settings = dataclasses.asdict(config)
    for free in ("out", "address"):
        del settings[free]
    for free in ("on_error", "cache", "memory_mb"):
        del settings["dataset"][free]
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


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
    shard: Shard,
    group_images: int,
) -> bytes:
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


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
