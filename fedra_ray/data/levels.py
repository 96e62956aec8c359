"""Which of the folders above an image are its domain, its split and its class."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fedra_ray.config.errors import SettingError, one_line
from fedra_ray.data.scan import Parts

#: Folders that are splits where they stand between domain and class, as in VLCS, by their names in lower case.
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("crossval", "val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_WHOLE = "full"  # VLCS has this folder too, with the images of all splits once more
_LAYOUT = "images must be at {domain}/{class}/image"


@dataclass(frozen=True)
class Levels:
    """What the folders between root and images mean.

    Attributes:
        class_at: Position of the class among the names of a path: 1, or 2 where a folder stands before it.
        splits: Whether the folder before the class is a split.
        notes: What a person should know of it, a line each.
    """

    class_at: int
    splits: bool
    notes: tuple[str, ...] = ()

    def class_of(self, image: Parts) -> str:
        """The name of an image's class folder."""
        return image[self.class_at]

    def split_of(self, image: Parts) -> str:
        """The split of an image; train if the folders tell none."""
        return SPLIT_FOLDERS[image[1].casefold()] if self.splits else "train"

    def is_taken(self, image: Parts) -> bool:
        """False for images of VLCS's `full`, and for those that are in no class folder."""
        return len(image) > self.class_at + 1 and not (self.splits and image[1].casefold() == _WHOLE)


def find_levels(images: Iterable[Parts], root: str) -> Levels:
    """Understand {domain}/{class}/image, {domain}/{images}/{class}/image and {domain}/{train,test,...}/{class}/image.

    The second is how Office-31 is handed out: one folder of the same name in every domain. The third is VLCS.

    Args:
        images: Names on the way from the root to every image, of the domain first.
        root: The data set, for the message.

    Raises:
        SettingError: if the folder of a class holds only folders, so that one level too many lies above its images.
    """
    placed = [image for image in images if len(image) > 2]
    between = {image[1].casefold() for image in placed}
    if placed and min(map(len, placed)) > 3:
        if len(between) == 1:
            note = f"takes the folder {one_line(placed[0][1])} in every domain for no class, but those in it"
            levels = Levels(2, False, (note,))
        elif between <= {*SPLIT_FOLDERS, _WHOLE}:
            levels = Levels(2, True, (_splits_note(placed),))
        else:
            levels = Levels(1, False)
    else:
        levels = Levels(1, False)
    _check_depth([image for image in placed if levels.is_taken(image)], levels, root)
    return levels


def _splits_note(images: Iterable[Parts]) -> str:
    named = sorted({image[1] for image in images})
    told = ", ".join(f"{name} ({SPLIT_FOLDERS.get(name.casefold(), 'passed over: all of them')})" for name in named)
    return f"splits are the folders {told}; the shares dataset.options.test and validation are not used"


def _check_depth(images: Iterable[Parts], levels: Levels, root: str) -> None:
    """Refuse a class folder that holds only folders."""
    deeper: dict[Parts, Parts] = {}
    direct: set[Parts] = set()
    for image in images:
        folder = image[: levels.class_at + 1]
        if len(image) == len(folder) + 1:
            direct.add(folder)
        else:
            deeper.setdefault(folder, image)
    for folder, image in deeper.items():
        if folder not in direct:
            example = f"{one_line('/'.join(folder))} holds only folders, and images lie at {one_line('/'.join(image))}"
            allowed = f"{example}; {_LAYOUT}: move them up, or name the folder that holds the domains as dataset.root"
            raise SettingError("dataset.root", root, allowed)


def check_no_splits(names: Iterable[str], kind: str, root: str) -> None:
    """Refuse splits that stand in the place of domains or classes: test images would be trained on.

    They are `train` and `test`, or names that differ in such a word alone: `photo_train` and `photo_test`.

    Args:
        names: Of folders.
        kind: What they were taken for: domains or classes.
        root: The data set, for the message.

    Raises:
        SettingError: naming them.
    """
    by_rest: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        words = re.split(r"[\W_]+", name.casefold())
        for place, word in enumerate(words):
            if word in SPLIT_FOLDERS:
                by_rest[(*words[:place], *words[place + 1 :])].setdefault(SPLIT_FOLDERS[word], name)
    for splits in by_rest.values():
        if len(splits) > 1:
            named = ", ".join(map(one_line, splits.values()))
            allowed = f"its folders {named} are splits and no {kind}; {_LAYOUT} or {{domain}}/{{split}}/{{class}}/image"
            way_out = f"if they are {kind} nevertheless, list all {kind} in dataset.options.{kind}"
            raise SettingError("dataset.root", root, f"{allowed}; {way_out}")
