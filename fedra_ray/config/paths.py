"""Where files are: `asset://NAME` is shipped with the package, other URIs are pyarrow.fs's, the rest is local."""

import os
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from fedra_ray.config.errors import SettingError

_PACKAGE = Path(__file__).parents[1]
_ASSET = "asset://"


def resolve(path: str) -> Path:
    """The local path of a file or folder that a setting names; `asset://NAME` lies inside the package."""
    if path.startswith(_ASSET):
        return _PACKAGE / "assets" / path.removeprefix(_ASSET)
    # not Path.expanduser, which raises for an unknown user: such a file merely does not exist
    return Path(os.path.expanduser(path))


def filesystem(setting: str, path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI (s3://, gs://, ...) and the path in it.

    Raises:
        SettingError: if pyarrow knows no such file system.
    """
    if "://" not in path or path.startswith(_ASSET):
        return fs.LocalFileSystem(), str(resolve(path).absolute())
    try:
        system, inside = fs.FileSystem.from_uri(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SettingError(setting, path, f"is no file system that pyarrow knows: {error}") from error
    return system, inside


def publish(system: fs.FileSystem, path: str, content: bytes) -> None:
    """Write a file beside its place and move it there, so that a file of this name is always complete.

    Raises:
        OSError: if it cannot be written; an older file of that name is kept.
    """
    part = f"{path}.part"
    with system.open_output_stream(part) as stream:
        stream.write(content)
    system.move(part, path)


def conf_dir() -> Path:
    """The folder of YAML configurations: inside an installed package, or beside it in a checkout."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"
