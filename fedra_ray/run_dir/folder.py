"""A folder on any file system that pyarrow knows, in which a file is there whole or not at all."""

import copy
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

from pyarrow import fs

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.paths import filesystem, publish

_READS = 10  # of a file that others keep replacing
_PLAIN = "!$&'()*+,;=:@/"  # signs that the path of a URI may have as they are (RFC 3986)


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
        found._path, found._name = f"{self._path}/{name}", below(self._name, name)
        return found

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return bool(self._system.get_file_info(self._path).type != fs.FileType.NotFound)

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
        """The content of a file; None if there is none.

        Raises:
            OSError: if it cannot be read.
        """
        path = f"{self._path}/{name}"
        for _ in range(_READS):
            size = self._size(path)
            if size is None:
                return None
            content = b""
            try:
                with self._system.open_input_stream(path) as stream:
                    content = stream.read()
            except OSError:
                if self._size(path) == size:
                    raise
            # Object stores are asked for as many bytes as a file has when it is opened. Where another process replaces
            # it in the meantime, they give a part of the new one, or an error.
            if len(content) == size == self._size(path):
                return content
        raise OSError(f"{path} has another size whenever it is read")

    def _size(self, path: str) -> int | None:
        """Bytes of a file; None if there is none."""
        info = self._system.get_file_info(path)
        return int(info.size) if info.type == fs.FileType.File else None

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
            raise RunFailedError(f"{below(self._name, name)} cannot be written: {error}") from error

    def clear(self) -> None:
        """Delete the folder with all that is in it, if it is there."""
        if self._system.get_file_info(self._path).type == fs.FileType.Directory:
            self._system.delete_dir(self._path)

    def delete(self, name: str) -> None:
        """Delete a file that is there."""
        self._system.delete_file(f"{self._path}/{name}")

    def remove_if_empty(self) -> None:
        """Remove a local folder in which there is nothing; object stores have no empty ones."""
        if isinstance(self._system, fs.LocalFileSystem):
            with suppress(OSError):  # it is not there, or not empty
                os.rmdir(self._path)


def below(where: str, name: str) -> str:
    """The path or URI of a file or folder in a folder; a URI has the name percent-encoded, and keeps its query."""
    place, query = _split(where)
    return f"{place}/{quote(name, safe=_PLAIN) if '://' in where else name}{query}"


def above(where: str) -> tuple[str, str]:
    """The path or URI of the folder that a file or folder is in, and its name there, decoded if it is part of a URI."""
    if "://" in where:
        place, mark, query = where.partition("?")
        folder, _, name = place.rpartition("/")
        return f"{folder}{mark}{query}", unquote(name)
    folder, _, name = where.rpartition("/")
    return folder or ("/" if where.startswith("/") else "."), name


def beside(where: str, suffix: str) -> str:
    """The path or URI of the folder beside another that has its name and a suffix."""
    place, query = _split(where)
    return f"{place}{suffix}{query}"


def _split(where: str) -> tuple[str, str]:
    """A path or URI without slashes at its end, and its query, if it is a URI that has one."""
    place, mark, query = where.partition("?") if "://" in where else (where, "", "")
    return place.rstrip("/"), mark + query
