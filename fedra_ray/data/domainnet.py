"""DomainNet, the cleaned version: images ROOT/{domain}/{class}/image, lists ROOT/splits/{domain}_{train|test}.txt."""

from fedra_ray.config.errors import SettingError
from fedra_ray.data.classes import take
from fedra_ray.data.tree import TreeDataset, class_names, first_path, folder, held_out, read_lists

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")


class DomainNet(TreeDataset):
    """Six domains of 345 classes. Peng et al., Moment matching for multi-source domain adaptation, arXiv 1812.01754.

    Args:
        root: The folder that holds the domains and splits/.
        image_size: Side in pixels of the returned images.
        num_classes: Take only the classes whose labels are smaller; FedRA takes 100. None takes all.
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
        num_classes: int | None = 100,
        classes: list[str | int] | None = None,
        validation: float = 0.0,
        resize: str = "antialias",
    ) -> None:
        top = folder(root, "a folder for every domain and splits/clipart_train.txt, splits/clipart_test.txt, ...")
        items, notes = read_lists(top / "splits", DOMAINS, num_classes if classes is None else None)
        taken = take(class_names(items, top), classes, root)
        train, test = ([item for item in items if item.split == split] for split in ("train", "test"))
        first = first_path(items, taken)
        if not (top / first).is_file():
            raise SettingError("dataset.root", root, f"the lists in splits/ name {first}, which is not there")
        super().__init__(top, image_size, held_out(train, 0, validation) + test, taken, resize, notes)
