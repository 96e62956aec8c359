"""DomainNet, the cleaned version: images ROOT/{domain}/{class}/image, lists ROOT/splits/{domain}_{train|test}.txt."""

from pathlib import PurePosixPath

from fedra_ray.config.errors import SettingError
from fedra_ray.data.tree import Item, TreeDataset, class_names, folder, held_out, read_list

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")


class DomainNet(TreeDataset):
    """Six domains of 345 classes. Peng et al., Moment matching for multi-source domain adaptation, arXiv 1812.01754.

    Args:
        root: The folder that holds the domains and splits/.
        image_size: Side in pixels of the returned images.
        num_classes: Take only the classes whose labels are smaller; FedRA takes 100. None takes all.
        validation: Share in [0, 1) of the training images of every domain and class that is held out for validation.
        resize: A value of `dataset.resize`.

    Raises:
        SettingError: if the folder is not laid out like that, or an option does not fit.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        num_classes: int | None = 100,
        validation: float = 0.0,
        resize: str = "antialias",
    ) -> None:
        top = folder(root, "a folder for every domain and splits/clipart_train.txt, splits/clipart_test.txt, ...")
        train, test = (
            [
                Item(path, label, domain, split)
                for domain in DOMAINS
                for path, label in read_list(top / "splits" / f"{domain}_{split}.txt")
                if num_classes is None or label < num_classes
            ]
            for split in ("train", "test")
        )
        classes = class_names(((item.label, PurePosixPath(item.path).parts[-2]) for item in train + test), top)
        first = (train + test)[0].path
        if not (top / first).is_file():
            raise SettingError("dataset.root", root, f"the lists in splits/ name {first}, which is not there")
        super().__init__(top, image_size, held_out(train, 0, validation) + test, classes, resize)
