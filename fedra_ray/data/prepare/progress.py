"""The folder of a preparation: which shards it will have, which are done, and the manifest at the end.

A shard is published only when complete, with a note beside it; the notes become the manifest when all are there. So an
interrupted preparation loses and repeats nothing, and a folder without a manifest is never taken for a data set.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyarrow import fs

from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import publish
from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.data.prepare.manifest import DAMAGE, MANIFEST, PLAN, read, to_json
from fedra_ray.data.prepare.settings import PrepareConfig


@dataclass(frozen=True)
class PreparedShard:
    """Some images of a domain and split, in one Parquet file.

    Images are sorted by label, so that clients of a partition with label skew read few row groups.

    Attributes:
        file: Name of the file.
        domain: The domain.
        split: train, validation or test.
        start: Rank of the first image when those of the domain and split are sorted by label.
        stop: Rank after that of the last image.
    """

    file: str
    domain: str
    split: str
    start: int
    stop: int


#: Keys of the note beside a shard: the shard itself, and what became of its images.
NOTE = {field.name for field in dataclasses.fields(PreparedShard)} | {
    *("images", "bytes", "sha256", "labels", "moments", "skipped"),
}


def plan(config: PrepareConfig, dataset: Dataset) -> list[PreparedShard]:
    """All shards of a data set, in the order of their files' names."""
    shards: list[PreparedShard] = []
    for domain in dataset.domains:
        for split in SPLITS:
            count = len(dataset.labels(domain, split))
            for start in range(0, count, config.shard_images):
                name = re.sub(r"[^\w-]+", "_", domain)
                file = f"{len(shards):05}-{name}-{split}.parquet"
                stop = min(start + config.shard_images, count)
                shards.append(PreparedShard(file, domain, split, start, stop))
    return shards


def begin(config: PrepareConfig, shards: list[PreparedShard], system: fs.FileSystem, path: str) -> bool:
    """Claim the folder for this preparation, or continue one with the same settings.

    Args:
        config: The settings.
        shards: All shards of the data set.
        system: Where the folder is.
        path: The folder; made if absent.

    Returns:
        Whether the folder has been prepared to the end already.

    Raises:
        SettingError: if the folder holds a preparation with other settings, or something else, or cannot be made.
    """
    settings = _settings(config)
    listed = [dataclasses.asdict(shard) for shard in shards]
    try:
        system.create_dir(path, recursive=True)
        present = {info.base_name for info in system.get_file_info(fs.FileSelector(path))}
    except OSError as error:
        raise SettingError("out", config.out, f"is no folder that can be made: {error}") from error
    if PLAN in present:
        earlier = _plan(config, system, path)
        for name, value in settings.items():
            if earlier[name] != value:
                allowed = f"{config.out} holds a preparation with {name}={earlier[name]}; choose another out"
                raise SettingError(name, value, allowed)
        if earlier["shards"] != listed:
            raise SettingError("out", config.out, "holds a preparation of other images; the data set has changed since")
    elif present:
        raise SettingError("out", config.out, "holds other files; name a new or empty folder")
    else:
        publish(system, f"{path}/{PLAN}", to_json(settings | {"shards": listed}))
    return MANIFEST in present


def _plan(config: PrepareConfig, system: fs.FileSystem, path: str) -> dict[str, Any]:
    """The settings and shards of an earlier preparation of the folder."""
    try:
        earlier: dict[str, Any] = dict(read(system, f"{path}/{PLAN}"))
    except DAMAGE as error:
        raise SettingError("out", config.out, f"its {PLAN} is damaged; name a new or empty folder") from error
    if earlier.keys() != {*_settings(config), "shards"}:
        raise SettingError("out", config.out, f"its {PLAN} is of another version; name a new or empty folder")
    return earlier


def is_done(shard: PreparedShard, system: fs.FileSystem, path: str) -> bool:
    """Whether the shard is there, with a note beside it and the bytes that the note states."""
    file = f"{path}/{shard.file}"
    note_file = f"{file}.json"
    if any(info.type != fs.FileType.File for info in system.get_file_info([note_file, file])):
        return False
    try:
        note = dict(read(system, note_file))
    except DAMAGE:
        return False
    with system.open_input_stream(file) as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
    return note.keys() == NOTE and note.items() >= (dataclasses.asdict(shard) | {"sha256": digest}).items()


def finish(
    config: PrepareConfig, dataset: Dataset, shards: list[PreparedShard], system: fs.FileSystem, path: str
) -> dict[str, Any]:
    """Publish the manifest when all shards are done, and remove their notes.

    Returns:
        The manifest: what was prepared, how many images, mean and standard deviation of each channel's pixels in
        [0, 1], images that were left out, and every shard with its checksum.
    """
    notes = [read(system, f"{path}/{shard.file}.json") for shard in shards]
    images = sum(note["images"] for note in notes)
    counts = {domain: dict.fromkeys(SPLITS, 0) for domain in dataset.domains}
    for note in notes:
        counts[note["domain"]][note["split"]] += note["images"]
    mean, mean_square = np.sum([note.pop("moments") for note in notes], axis=0) / max(1, images)
    manifest = {
        "dataset": dataclasses.asdict(config.dataset),
        "image_size": config.image_size,
        "format": config.format,
        "domains": list(dataset.domains),
        "classes": list(dataset.classes),
        "class_numbers": list(dataset.class_numbers),
        "images": images,
        "images_by_domain": counts,
        "channel_mean": mean.tolist(),
        "channel_std": np.sqrt(np.maximum(mean_square - mean**2, 0)).tolist(),
        "skipped": [entry for note in notes for entry in note.pop("skipped")],
        "shards": [note for note in notes if note["images"]],
    }
    publish(system, f"{path}/{MANIFEST}", to_json(manifest))
    for shard in shards:
        system.delete_file(f"{path}/{shard.file}.json")
    return manifest


def _settings(config: PrepareConfig) -> dict[str, Any]:
    """The settings that decide the bytes of the shards, as JSON gives them back."""
    settings = dataclasses.asdict(config)
    for free in ("out", "address", *(("tokenizer", "max_length") if config.tokenizer is None else ())):
        del settings[free]
    for free in ("resize", "on_error", "cache", "memory_mb"):
        del settings["dataset"][free]
    decisive: dict[str, Any] = json.loads(json.dumps(settings))
    return decisive
