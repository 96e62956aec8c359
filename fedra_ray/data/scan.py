"""What lies below the folder of a domain: its images, and whatever is passed over, so that it can be told."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from fedra_ray.config.errors import SettingError, one_line
from fedra_ray.data.classes import shortened
from fedra_ray.data.image import FORMATS

#: Names on the way from the root to a file or folder.
Parts = tuple[str, ...]
_SHOWN = 6  # suffixes in a note


@dataclass
class Scan:
    """What has been come across.

    Attributes:
        images: Every file with the suffix of an image.
        folders: Every folder.
        other: How many files have another suffix, by suffix.
        hidden: Files and folders whose names begin with a dot; archives of a Mac have a `._name.jpg` for every image.
        broken: Symbolic links that lead nowhere.
        loops: Symbolic links to a folder that they lie in.
        linked: Symbolic links to folders or images elsewhere, which have been followed.
    """

    images: list[Parts] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    hidden: list[Parts] = field(default_factory=list)
    broken: list[Parts] = field(default_factory=list)
    loops: list[Parts] = field(default_factory=list)
    linked: list[Parts] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What has been passed over or followed, a line each."""
        notes = []
        if self.other:
            kinds = [f"{count} {one_line(suffix) or 'without'}" for suffix, count in self.other.most_common(_SHOWN)]
            rest = ", ..." if len(self.other) > _SHOWN else ""
            notes.append(f"passed over {self.other.total()} files without a suffix of images: {', '.join(kinds)}{rest}")
        told = {
            "passed over {} hidden files and folders": self.hidden,
            "passed over {} links that lead nowhere": self.broken,
            "passed over {} links to a folder that they lie in": self.loops,
            "followed {} links": self.linked,
        }
        return notes + [numbered(text, places) for text, places in told.items() if places]


def numbered(text: str, places: Iterable[Parts]) -> str:
    """A sentence with the number of places, and the first of them."""
    paths = ["/".join(place) for place in places]
    return f"{text.format(len(paths))}: {shortened(paths)}"


@cache
def suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with their dot, that Pillow knows of the formats that are decoded."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def list_folder(top: Path, inside: Parts, scan: Scan) -> list[Parts]:
    """Note everything that lies directly in a folder.

    Args:
        top: The folder of the data set.
        inside: Names on the way from there to the folder.
        scan: Where it is noted.

    Returns:
        The folders in it, in the order of their names, without links back up.

    Raises:
        SettingError: if the folder cannot be listed, a folder in it has a name that cannot be printed, or a domain or
            class is a link to a folder above.
    """
    place = os.path.join(top, *inside)
    images = suffixes()
    folders = []
    try:
        with os.scandir(place) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        raise SettingError("dataset.root", place, f"cannot be listed: {error.strerror}") from error
    for entry in entries:
        parts = (*inside, entry.name)
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            scan.hidden.append(parts)
        elif os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
            if _enter(top, entry, parts, scan):
                folders.append(parts)
        elif suffix in images:
            scan.images.append(parts)
            scan.linked += [parts] if entry.is_symlink() else []
        elif entry.is_symlink() and not os.path.exists(entry.path):
            scan.broken.append(parts)
        else:
            scan.other[suffix] += 1
    return folders


def walk(top: Path, inside: Parts, scan: Scan) -> None:
    """Note everything that lies below a folder, at any depth; what follows a link counts too.

    Raises:
        SettingError: as `list_folder`, or if folders are nested too deeply.
    """
    try:
        for folder in list_folder(top, inside, scan):
            walk(top, folder, scan)
    except RecursionError as error:
        raise SettingError("dataset.root", os.path.join(top, *inside[:3]), "is nested too deeply") from error


def _enter(top: Path, entry: "os.DirEntry[str]", parts: Parts, scan: Scan) -> bool:
    """Note a folder; false for a link to a folder that it lies in, which has no end."""
    if not entry.name.isprintable():
        raise SettingError("dataset.root", repr(entry.name), "names of folders must be printable UTF-8")
    if entry.is_symlink():
        above = [top.joinpath(*parts[:depth]).resolve() for depth in range(len(parts))]
        if Path(entry.path).resolve() in (*above, *above[-1].parents):
            if len(parts) <= 2:
                raise SettingError("dataset.root", entry.path, "is a link to a folder above it")
            scan.loops.append(parts)
            return False
        scan.linked.append(parts)
    scan.folders.append(parts)
    return True
