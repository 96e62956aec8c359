"""A folder on any file system that pyarrow knows, in which a file is there whole or not at all."""

import copy
from datetime import datetime
from pathlib import Path

from pyarrow import fs

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.paths import filesystem, publish


class Folder:
    """A local folder or one of an object store.

    Args:
        where: A path, or a URI of pyarrow.fs such as s3://bucket/runs/first.
        setting: What names it in errors.

    Raises:
        SettingError: if pyarrow knows no such file system.
    """

    def __init__(self, where: str | Path, setting: str = "run_dir") -> None:
        self._system, self._path = filesystem(setting, str(where))
        self._name = str(where) if "://" in str(where) else self._path

    def __str__(self) -> str:
        return self._name

    def below(self, name: str) -> "Folder":
        """A folder in this one."""
        found = copy.copy(self)
        found._path, found._name = f"{self._path}/{name}", f"{self._name}/{name}"
        return found

    def names(self) -> list[str]:
        """Names of the files and folders in it, in order; none if it is not there.

        Raises:
            NotADirectoryError: if there is a file in its place.
        """
        if self._system.get_file_info(self._path).type == fs.FileType.File:
            raise NotADirectoryError(self._path)
        found = self._system.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        path = f"{self._path}/{name}"
        if self._system.get_file_info(path).type != fs.FileType.File:
            return None
        with self._system.open_input_stream(path) as stream:
            content: bytes = stream.read()
            return content

    def modified(self, name: str) -> datetime | None:
        """When a file was last written, with its time zone; None if the file system does not tell."""
        found: datetime | None = self._system.get_file_info(f"{self._path}/{name}").mtime
        return found

    def write(self, name: str, content: bytes) -> None:
        """Write a file, and the folder if need be; one of that name is replaced only by the whole new one.

        Raises:
            RunFailedError: if it cannot be written, for want of space or permission.
        """
        try:
            self._system.create_dir(self._path, recursive=True)
            publish(self._system, f"{self._path}/{name}", content)
        except OSError as error:
            raise RunFailedError(f"{self}/{name} cannot be written: {error}") from error

    def clear(self) -> None:
        """Delete the folder with all that is in it, if it is there."""
        if self._system.get_file_info(self._path).type == fs.FileType.Directory:
            self._system.delete_dir(self._path)

    def delete(self, name: str) -> None:
        """Delete a file that is there."""
        self._system.delete_file(f"{self._path}/{name}")


def below(where: str, name: str) -> str:
    """The path or URI of a file or folder in a folder; the query of a URI stays at its end."""
    place, query = _split(where)
    return f"{place}/{name}{query}"


def beside(where: str, suffix: str) -> str:
    """The path or URI of the folder beside another that has its name and a suffix."""
    place, query = _split(where)
    return f"{place}{suffix}{query}"


def _split(where: str) -> tuple[str, str]:
    """A path or URI without slashes at its end, and its query, if it is a URI that has one."""
    place, mark, query = where.partition("?") if "://" in where else (where, "", "")
    return place.rstrip("/"), mark + query
