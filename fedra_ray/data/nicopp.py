"""NICO++: images ROOT/NICO_DG/{domain}/{class}/image, lists ROOT/NICO_DG_official/{domain}_{train|test}.txt."""

from pathlib import Path

from fedra_ray.config.errors import SettingError
from fedra_ray.data.classes import take
from fedra_ray.data.tree import TreeDataset, class_names, first_path, folder, held_out, read_lists

DOMAINS = ("autumn", "dim", "grass", "outdoor", "rock", "water")


class NicoPlusPlus(TreeDataset):
    """Six domains of 60 classes, whose names have spaces. Zhang et al., NICO++, arXiv 2204.08040.

    Labels are those of the lists. Paths in the lists may begin at ROOT or at ROOT/NICO_DG.

    Args:
        root: The folder that holds NICO_DG and NICO_DG_official.
        image_size: Side in pixels of the returned images.
        num_classes: Take only the classes whose labels are smaller; None takes all.
        classes: Names of the classes to take, or their labels, in place of `num_classes`; None takes all of those.
        validation: Share in [0, 1) of the training images of every domain and class that is held out for validation.
        resize: A value of `dataset.resize`.

    Raises:
        SettingError: if the folder is not laid out like that, or an option does not fit.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        num_classes: int | None = None,
        classes: list[str | int] | None = None,
        validation: float = 0.0,
        resize: str = "antialias",
    ) -> None:
        top = folder(root, "NICO_DG/ with a folder for every domain, and NICO_DG_official/autumn_train.txt, ...")
        items, notes = read_lists(top / "NICO_DG_official", DOMAINS, num_classes if classes is None else None)
        taken = take(class_names(items, top), classes, root)
        train, test = ([item for item in items if item.split == split] for split in ("train", "test"))
        base = _base(top, first_path(items, taken), root)
        super().__init__(base, image_size, held_out(train, 0, validation) + test, taken, resize, notes)


def _base(top: Path, first: str, root: str) -> Path:
    for base in (top, top / "NICO_DG"):
        if (base / first).is_file():
            return base
    raise SettingError("dataset.root", root, f"the lists name {first}, which is neither there nor in NICO_DG")
