import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.data.levels import check_no_splits, find_levels
from fedra_ray.data.scan import Parts


def images(*folders: str) -> list[Parts]:
    """Two images in every folder."""
    return [(*folder.split("/"), f"{number}.jpg") for folder in folders for number in range(2)]


def test_the_folder_above_an_image_is_its_class() -> None:
    levels = find_levels(images("photo/cat", "photo/dog", "sketch/cat"), "data")
    assert (levels.class_at, levels.splits, levels.notes) == (1, False, ())
    assert levels.class_of(("photo", "cat", "0.jpg")) == "cat"
    assert levels.split_of(("photo", "cat", "0.jpg")) == "train"


def test_folders_below_a_class_that_has_images_belong_to_it() -> None:
    levels = find_levels(images("photo/cat", "photo/cat/more", "photo/dog"), "data")
    assert levels.class_of(("photo", "cat", "more", "0.jpg")) == "cat"


@pytest.mark.parametrize("name", ["images", "Images", "train", "full"])
def test_one_folder_of_every_domain_is_no_class(name: str) -> None:
    levels = find_levels(images(f"amazon/{name}/bike", f"dslr/{name}/bike", f"dslr/{name}/mug"), "data")
    assert (levels.class_at, levels.splits) == (2, False)
    assert levels.class_of(("amazon", name, "bike", "0.jpg")) == "bike"
    assert levels.notes == (f"takes the folder {name} in every domain for no class, but those in it",)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "crossval", "test"), ("Training", "val", "eval"), ("train", "dev", "Test")],
)
def test_splits_between_domain_and_class_are_splits(train: str, validation: str, test: str) -> None:
    folders = [f"{domain}/{split}/{name}" for domain in "ab" for split in (train, validation, test) for name in "01"]
    levels = find_levels(images(*folders), "data")
    assert (levels.class_at, levels.splits) == (2, True)
    splits = [levels.split_of(("a", split, "0", "0.jpg")) for split in (train, validation, test)]
    assert splits == ["train", "validation", "test"]
    (note,) = levels.notes
    assert f"{validation} (validation)" in note


def test_a_folder_with_all_splits_once_more_is_passed_over() -> None:
    levels = find_levels(images("a/train/0", "a/test/0", "a/full/0"), "data")
    assert levels.splits
    taken = [levels.is_taken(("a", folder, "0", "0.jpg")) for folder in ("train", "test", "full")]
    assert taken == [True, True, False]
    assert "full (passed over" in levels.notes[0]


@pytest.mark.parametrize(
    "folders",
    [
        ("photo/animals/cat", "photo/things/mug"),
        ("pacs/photo/cat", "pacs/photo/dog", "pacs/sketch/cat"),
        ("photo/cat", "photo/dog/front"),
        ("a/images/cat", "b/cat"),
        ("a/train/cat", "a/cat"),
        ("a/images/cat/front", "b/images/cat/front"),
        ("a/x/y/z/cat",),
    ],
)
def test_a_class_that_holds_only_folders_is_refused(folders: tuple[str, ...]) -> None:
    message = r"data: .* holds only folders, and images lie at .*0\.jpg; images must be at"
    with pytest.raises(SettingError, match=message):
        find_levels(images(*folders), "data")


def test_images_outside_a_class_change_nothing() -> None:
    levels = find_levels([("stray.jpg",), ("a", "stray.jpg"), *images("a/images/cat", "b/images/cat")], "data")
    assert levels.class_at == 2
    assert not levels.is_taken(("a", "stray.jpg"))


def test_splits_in_the_place_of_domains_or_classes_are_refused() -> None:
    for names in (
        ["train", "test"],
        ["Train", "val", "extra"],
        ["photo_train", "photo-test"],
        ["test photo", "val photo"],
    ):
        with pytest.raises(SettingError, match=r"are splits and no domains; .* list all domains in dataset.options"):
            check_no_splits(names, "domains", "data")
    check_no_splits(["train", "bus"], "classes", "data")
    check_no_splits(["test", "eval"], "domains", "data")
    check_no_splits(["photo_train", "sketch_test", "bullet train"], "domains", "data")
