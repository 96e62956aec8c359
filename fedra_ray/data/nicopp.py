"""NICO++: images ROOT/NICO_DG/{domain}/{class}/image, lists ROOT/NICO_DG_official/{domain}_{train|test}.txt."""

from pathlib import Path, PurePosixPath

from fedra_ray.config.errors import SettingError
from fedra_ray.data.tree import Item, TreeDataset, class_names, folder, held_out, read_list

DOMAINS = ("autumn", "dim", "grass", "outdoor", "rock", "water")


class NicoPlusPlus(TreeDataset):
    """Six domains of 60 classes, whose names have spaces. Zhang et al., NICO++, arXiv 2204.08040.

    Labels are those of the lists. Paths in the lists may begin at ROOT or at ROOT/NICO_DG.

    Args:
        root: The folder that holds NICO_DG and NICO_DG_official.
        image_size: Side in pixels of the returned images.
        num_classes: Take only the classes whose labels are smaller; None takes all.
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
        validation: float = 0.0,
        resize: str = "antialias",
    ) -> None:
        top = folder(root, "NICO_DG/ with a folder for every domain, and NICO_DG_official/autumn_train.txt, ...")
        train, test = (
            [
                Item(path, label, domain, split)
                for domain in DOMAINS
                for path, label in read_list(top / "NICO_DG_official" / f"{domain}_{split}.txt")
                if num_classes is None or label < num_classes
            ]
            for split in ("train", "test")
        )
        classes = class_names(((item.label, PurePosixPath(item.path).parts[-2]) for item in train + test), top)
        base = _base(top, (train + test)[0].path, root)
        super().__init__(base, image_size, held_out(train, 0, validation) + test, classes, resize)


def _base(top: Path, first: str, root: str) -> Path:
    for base in (top, top / "NICO_DG"):
        if (base / first).is_file():
            return base
    raise SettingError("dataset.root", root, f"the lists name {first}, which is neither there nor in NICO_DG")
