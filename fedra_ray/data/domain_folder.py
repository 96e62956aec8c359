"""Any folder of images ROOT/{domain}/{class}/image: PACS, OfficeHome, VLCS, TerraIncognita, or one's own."""

import os
from pathlib import Path

from fedra_ray.config.errors import SettingError
from fedra_ray.data.tree import Item, TreeDataset, folder, held_out

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class DomainFolder(TreeDataset):
    """Images in one folder per domain and class.

    Classes are the union of the class folders of all domains, in alphabetical order.

    Args:
        root: The folder.
        image_size: Side in pixels of the returned images.
        domains: Names of the folders that are domains; None takes all.
        test: Share in [0, 1) of every domain and class that is held out for testing.
        validation: The same for validation.
        resize: A value of `dataset.resize`.

    Raises:
        SettingError: if there is no such folder or image, or an option does not fit.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        domains: list[str] | None = None,
        test: float = 0.2,
        validation: float = 0.1,
        resize: str = "antialias",
    ) -> None:
        top = folder(root, "a folder of images for every domain and class: {domain}/{class}/image.jpg")
        if isinstance(domains, str):
            raise SettingError("dataset.options.domains", domains, f"must be a list: [{domains}]")
        present = [path.name for path in _folders(top)]
        names = present if domains is None else domains
        for name in names:
            if name not in present:
                raise SettingError("dataset.options.domains", name, f"there is no such folder in {root}")
            if names.count(name) > 1:
                raise SettingError("dataset.options.domains", names, f"names {name} more than once")
        files = [
            (domain, path.name, file) for domain in names for path in _folders(top / domain) for file in _images(path)
        ]
        classes = sorted({name for _, name, _ in files})
        labels = {name: label for label, name in enumerate(classes)}
        items = [Item(f"{domain}/{name}/{file}", labels[name], domain, "train") for domain, name, file in files]
        if not items:
            raise SettingError("dataset.root", root, "has no images at {domain}/{class}/image.jpg")
        super().__init__(top, image_size, held_out(items, test, validation), classes, resize)


def _folders(path: Path) -> list[Path]:
    """Folders in a folder, without hidden ones. A link to a folder counts, but one that leads back up is refused."""
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for entry in folders:
        if entry.resolve() in (path.resolve(), *path.resolve().parents):
            raise SettingError("dataset.root", entry, "is a link to a folder above it")
        if not entry.name.isprintable():
            raise SettingError("dataset.root", repr(entry.name), "names of domains and classes must be printable UTF-8")
    return folders


def _images(path: Path) -> list[str]:
    """Image files below a folder, without hidden ones: archives of a Mac have a `._name.jpg` beside every image."""
    try:
        walked = list(os.walk(path, onerror=_refuse))
    except RecursionError as error:
        raise SettingError("dataset.root", path, "is nested too deeply") from error
    images = (Path(place).relative_to(path) / name for place, _, names in walked for name in names)
    return sorted(
        file.as_posix()
        for file in images
        if file.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in file.parts)
    )


def _refuse(error: OSError) -> None:
    raise SettingError("dataset.root", error.filename, f"cannot be listed: {error.strerror}") from error
