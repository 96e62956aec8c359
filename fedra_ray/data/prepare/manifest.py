"""The manifest of a prepared data set: which shards it has, their checksums and statistics."""

import json
from typing import Any

from pyarrow import fs

from fedra_ray.config.errors import SettingError

MANIFEST = "manifest.json"
#: Column with an image's index within its domain and split before, so that runs see the images in the same order.
POSITION = "fedra_ray_position"
#: The settings and shards of a preparation, written before the first shard.
PLAN = "plan.json"
#: Errors of reading a damaged JSON file, or of looking for something in what it holds.
DAMAGE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


def files(system: fs.FileSystem, path: str, root: str) -> list[str] | None:
    """The shards that a manifest in the folder names; None if the folder was not prepared.

    Raises:
        SettingError: if the preparation is not finished, or a shard is missing or has another size.
    """
    present = {info.base_name: info.size for info in system.get_file_info(fs.FileSelector(path)) if info.is_file}
    if MANIFEST not in present:
        if PLAN in present:
            raise SettingError(
                "dataset.root", root, "is not prepared to the end; run the same `fedra-ray prepare` again"
            )
        return None
    try:
        sizes = {str(shard["file"]): int(shard["bytes"]) for shard in read_manifest(system, path)["shards"]}
    except DAMAGE as error:
        raise SettingError("dataset.root", root, f"its {MANIFEST} is damaged: {type(error).__name__}") from error
    if not sizes:
        raise SettingError("dataset.root", root, f"its {MANIFEST} names no shards")
    for file, size in sizes.items():  # a name that leaves the folder is none of those present
        if present.get(file) != size:
            raise SettingError("dataset.root", root, f"{file} is missing or damaged: its manifest says {size} bytes")
    return [f"{path}/{file}" for file in sizes]


def read_manifest(system: fs.FileSystem, path: str) -> dict[str, Any]:
    """The manifest of a prepared folder."""
    manifest: dict[str, Any] = read(system, f"{path}/{MANIFEST}")
    return manifest


def read(system: fs.FileSystem, path: str) -> Any:
    """What a JSON file holds."""
    with system.open_input_stream(path) as stream:
        return json.loads(stream.read())


def to_json(content: dict[str, Any]) -> bytes:
    """The content of a JSON file, for people to read too."""
    return (json.dumps(content, indent=1) + "\n").encode()
