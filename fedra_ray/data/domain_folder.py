"""Any folder of images ROOT/{domain}/{class}/image: PACS, OfficeHome, VLCS, TerraIncognita, or one's own."""

from fedra_ray.config.errors import SettingError
from fedra_ray.data.classes import check_alike, one_form, take
from fedra_ray.data.levels import Levels, check_no_splits, find_levels
from fedra_ray.data.scan import Parts, Scan, list_folder, numbered, walk
from fedra_ray.data.tree import Item, TreeDataset, folder, held_out


class DomainFolder(TreeDataset):
    """Images in one folder per domain and class.

    Classes are the union of the class folders of all domains, in alphabetical order. An image is a file with a suffix
    that Pillow knows of a format that is decoded, in the folder of its class or below it. Two further layouts are
    understood: one folder of the same name between every domain and its classes (Office-31's images/), and folders of
    splits between them (VLCS's train/, crossval/ and test/), which then are the splits.

    Symbolic links are followed, to folders and images anywhere, but for those to a folder that they lie in. Whatever
    is passed over is counted in `notes`.

    Args:
        root: The folder.
        image_size: Side in pixels of the returned images.
        domains: Names of the folders that are domains; None takes all.
        classes: Names of the classes to take, or their numbers in alphabetical order from 0; None takes all.
        test: Share in [0, 1) of every domain and class that is held out for testing, if no folders are splits.
        validation: The same for validation.
        resize: A value of `dataset.resize`.

    Raises:
        SettingError: if there is no such folder or image, images lie deeper than that, two names differ by case or
            spaces alone, or an option does not fit.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        domains: list[str] | None = None,
        classes: list[str | int] | None = None,
        test: float = 0.2,
        validation: float = 0.1,
        resize: str = "antialias",
    ) -> None:
        top = folder(root, "a folder of images for every domain and class: {domain}/{class}/image.jpg")
        scan = Scan()
        chosen = _domains([parts[0] for parts in list_folder(top, (), scan)], domains, root)
        for name in chosen:
            walk(top, (name,), scan)
        levels = find_levels(scan.images, root)
        images = sorted(filter(levels.is_taken, scan.images), key=lambda image: _rank(image, levels))
        _check_images(images, chosen, domains, root)
        known = dict(enumerate(sorted({one_form(levels.class_of(image)) for image in images})))
        if domains is None:
            check_no_splits(sorted({chosen[image[0]] for image in images}), "domains", root)
        if classes is None:
            check_no_splits(known.values(), "classes", root)
        numbers = {name: number for number, name in known.items()}
        items = [
            Item("/".join(image), numbers[one_form(levels.class_of(image))], chosen[image[0]], levels.split_of(image))
            for image in images
        ]
        if not levels.splits:
            items = held_out(items, test, validation)
        notes = [*levels.notes, *scan.notes(), *_notes(scan, levels)]
        super().__init__(top, image_size, items, take(known, classes, root), resize, notes)


def _rank(image: Parts, levels: Levels) -> tuple[str, str, str]:
    """Orders images by the folders of their domains and classes, and then by what comes below those."""
    return image[0], levels.class_of(image), "/".join(image[levels.class_at + 1 :])


def _domains(folders: list[str], chosen: list[str] | None, root: str) -> dict[str, str]:
    """The domain of every folder that is taken."""
    if isinstance(chosen, str):
        raise SettingError("dataset.options.domains", chosen, f"must be a list: [{chosen}]")
    domains = {name: one_form(name) for name in folders}
    if chosen is None:
        check_alike(domains.values(), "domains", root, ", or list those that you mean in dataset.options.domains")
        return domains
    wanted = [one_form(name) for name in chosen]
    for name, form in zip(chosen, wanted, strict=True):
        if form not in domains.values():
            raise SettingError("dataset.options.domains", name, f"there is no such folder in {root}")
        if wanted.count(form) > 1:
            raise SettingError("dataset.options.domains", chosen, f"names {name} more than once")
    return {name: form for name, form in domains.items() if form in wanted}


def _check_images(images: list[Parts], domains: dict[str, str], chosen: list[str] | None, root: str) -> None:
    """Refuse a root without an image, and a domain without one that was asked for by name."""
    if not images:
        raise SettingError("dataset.root", root, "has no images at {domain}/{class}/image.jpg")
    present = {domains[image[0]] for image in images}
    for name in chosen or ():
        if one_form(name) not in present:
            raise SettingError("dataset.options.domains", name, "has no images at {class}/image.jpg")


def _notes(scan: Scan, levels: Levels) -> list[str]:
    """What is told of images in unusual places, and of folders without any."""
    below = levels.class_at + 2  # names on the way to an image that lies right in the folder of its class
    aside = [image for image in scan.images if not levels.is_taken(image)]
    told = {
        "passed over {} images outside the folder of a class": [image for image in aside if len(image) < below],
        "passed over {} images of all splits once more": [image for image in aside if len(image) >= below],
        "took {} images from folders below that of their class": [
            image for image in scan.images if levels.is_taken(image) and len(image) > below
        ],
        "passed over {} folders without an image": _empty(scan, below),
    }
    return [numbered(text, places) for text, places in told.items() if places]


def _empty(scan: Scan, below: int) -> list[Parts]:
    """Domains without an image, and folders without one in domains that have some, down to those of classes."""
    full = {()} | {image[:depth] for image in scan.images for depth in range(1, below)}
    return [parts for parts in scan.folders if len(parts) < below and parts not in full and parts[:-1] in full]
