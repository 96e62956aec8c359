import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import CLASSES, write_domain_folder

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.dataset import in_numbers, open_dataset
from fedra_ray.data.domain_folder import DomainFolder

DOMAINS = ("art painting", "cartoon", "photo", "sketch")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pacs")
    write_domain_folder(folder)
    return str(folder)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A tree to change: two images a class and domain."""
    write_domain_folder(tmp_path, images=2)
    return tmp_path


def test_the_folders_say_domains_and_classes(root: str) -> None:
    dataset = DomainFolder(root, 16)
    assert dataset.domains == DOMAINS
    assert dataset.classes == CLASSES


def test_shares_of_every_domain_and_class_are_held_out(root: str) -> None:
    dataset = DomainFolder(root, 16, test=0.3, validation=0.2)
    for domain in DOMAINS:
        counts = {split: np.bincount(dataset.labels(domain, split)) for split in ("train", "validation", "test")}
        assert {split: count.tolist() for split, count in counts.items()} == {
            "train": [5, 5, 5],
            "validation": [2, 2, 2],
            "test": [3, 3, 3],
        }


def test_every_image_is_in_one_split(root: str) -> None:
    dataset = DomainFolder(root, 16)
    for domain in DOMAINS:
        counts = [len(dataset.labels(domain, split)) for split in ("train", "validation", "test")]
        found = [
            dataset.images(domain, split, np.arange(count))
            for split, count in zip(("train", "validation", "test"), counts, strict=True)
        ]
        assert len({image.tobytes() for image in np.concatenate(found)}) == sum(counts) == 30


def test_a_copy_elsewhere_has_the_same_splits(root: str, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    here, there = DomainFolder(root, 16), DomainFolder(str(tmp_path / "copy"), 16)
    for split, count in (("train", 21), ("validation", 3), ("test", 6)):
        images, copies = (dataset.images("photo", split, np.arange(count)) for dataset in (here, there))
        assert images.tobytes() == copies.tobytes()


def test_domains_can_be_chosen(root: str) -> None:
    dataset = DomainFolder(root, 16, domains=["sketch", "cartoon"])
    assert dataset.domains == ("cartoon", "sketch")
    every = DomainFolder(root, 16)
    images = [data.images("sketch", "test", np.arange(6)).tobytes() for data in (dataset, every)]
    assert images[0] == images[1]


def test_a_chosen_domain_that_is_not_there_is_refused(root: str) -> None:
    with pytest.raises(SettingError, match=r"dataset.options.domains=clipart: there is no such folder in"):
        DomainFolder(root, 16, domains=["photo", "clipart"])


def test_classes_are_those_of_all_domains(own: Path) -> None:
    extra = own / "photo" / "cat" / "more" / "deep.PNG"
    extra.parent.mkdir(parents=True)
    for file in (extra, extra.parents[1] / "0.jpe"):
        Image.new("RGB", (20, 20)).save(file, "PNG")
    dataset = DomainFolder(str(own), 16, test=0, validation=0)
    assert dataset.classes == ("aircraft carrier", "bicycle", "cat", "hot air balloon")
    assert dataset.labels("photo", "train").tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert dataset.notes == ("took 1 images from folders below that of their class: photo/cat/more/deep.PNG",)
    assert dataset.labels("sketch", "train").tolist() == [0, 0, 1, 1, 3, 3]


def test_what_is_no_image_is_left_alone(own: Path) -> None:
    (own / "readme.txt").touch()
    (own / "photo" / "list.jpg").touch()
    (own / "photo" / "bicycle" / "notes.txt").touch()
    (own / "photo" / "bicycle" / "._photo_001_000001.jpg").touch()
    (own / ".cache" / "bicycle").mkdir(parents=True)
    (own / ".cache" / "bicycle" / "image.jpg").touch()
    (own / "photo" / "empty").mkdir()
    dataset = DomainFolder(str(own), 16, test=0, validation=0)
    assert dataset.domains == DOMAINS
    assert dataset.classes == CLASSES
    assert dataset.labels("photo", "train").tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.notes == (
        "passed over 2 files without a suffix of images: 2 .txt",
        "passed over 2 hidden files and folders: .cache, photo/bicycle/._photo_001_000001.jpg",
        "passed over 1 images outside the folder of a class: photo/list.jpg",
        "passed over 1 folders without an image: photo/empty",
    )


def test_a_class_is_not_lost_by_its_suffixes(own: Path) -> None:
    for name, suffix, kind in (("dog", ".jfif", "JPEG"), ("face", ".pgm", "PPM"), ("phone", ".heic", "PNG")):
        for domain in DOMAINS:
            (own / domain / name).mkdir()
            Image.new("L", (8, 8)).save(own / domain / name / f"0{suffix}", kind)
    dataset = DomainFolder(str(own), 16, test=0, validation=0)
    assert dataset.classes == ("aircraft carrier", "bicycle", "dog", "face", "hot air balloon")
    assert dataset.images("photo", "train", np.arange(8)).shape == (8, 3, 16, 16)
    assert dataset.notes[0] == "passed over 4 files without a suffix of images: 4 .heic"
    assert dataset.notes[1].startswith("passed over 4 folders without an image: art painting/phone, cartoon/phone")


def moved_down(root: Path, *middles: str) -> None:
    """Put the classes of every domain one level deeper, once below every folder of these names."""
    for domain in DOMAINS:
        (root / domain).rename(root / "before")
        for middle in middles:
            shutil.copytree(root / "before", root / domain / middle)
        shutil.rmtree(root / "before")


def test_the_layout_of_office_31_is_understood(own: Path) -> None:
    before = DomainFolder(str(own), 16)
    moved_down(own, "images")
    dataset = DomainFolder(str(own), 16, test=0, validation=0)
    assert (dataset.domains, dataset.classes) == (before.domains, before.classes)
    assert dataset.notes == ("takes the folder images in every domain for no class, but those in it",)
    assert dataset.images("photo", "train", np.arange(4)).shape == (4, 3, 16, 16)


def test_the_layout_of_vlcs_is_understood(own: Path) -> None:
    moved_down(own, "train", "crossval", "test", "full")
    (own / "photo" / "crossval" / "bicycle" / "photo_002_000001.jpg").unlink()
    dataset = DomainFolder(str(own), 16)
    assert (dataset.domains, dataset.classes) == (DOMAINS, CLASSES)
    for split, labels in (("train", [0, 0, 1, 1, 2, 2]), ("validation", [0, 0, 1, 2, 2]), ("test", [0, 0, 1, 1, 2, 2])):
        assert dataset.labels("photo", split).tolist() == labels
    assert dataset.notes[0].startswith("splits are the folders crossval (validation), full (passed over")
    assert dataset.notes[1].startswith("passed over 24 images of all splits once more: art painting/full/")


def test_one_level_more_is_refused(own: Path) -> None:
    moved_down(own, "some", "others")
    with pytest.raises(
        SettingError, match=r"art painting/.* holds only folders, and images lie at .*; images must be at"
    ):
        DomainFolder(str(own), 16)


@pytest.mark.parametrize("below", ["", "bicycle"])
def test_splits_are_taken_neither_for_domains_nor_for_classes(below: str, tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / ("" if below else "photo") / split / below
        folder.mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "0.png")
    kind = "domains" if below else "classes"
    with pytest.raises(SettingError, match=f"its folders test, train are splits and no {kind}; images must be at"):
        DomainFolder(str(tmp_path), 16)


def test_names_in_two_spellings_are_one_class_and_one_domain(own: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    (own / "photo" / "bicycle").rename(own / "photo" / decomposed)
    (own / "sketch" / "bicycle").rename(own / "sketch" / f"{composed} ")
    (own / "cartoon").rename(own / decomposed)
    dataset = DomainFolder(str(own), 16, domains=[composed, "photo", "sketch"], test=0, validation=0)
    assert dataset.domains == (composed, "photo", "sketch")
    assert dataset.classes == ("aircraft carrier", "bicycle", composed, "hot air balloon")
    assert dataset.labels("photo", "train").tolist() == [0, 0, 2, 2, 3, 3]
    assert dataset.labels("sketch", "train").tolist() == [0, 0, 2, 2, 3, 3]
    assert dataset.images("sketch", "train", np.arange(6)).shape == (6, 3, 16, 16)
    assert dataset.images(composed, "train", np.arange(6)).shape == (6, 3, 16, 16)


@pytest.mark.parametrize(
    ("one", "other", "kind"), [("photo/bicycle", "photo/Bicycle", "classes"), ("photo", "Photo", "domains")]
)
def test_names_that_differ_by_case_are_refused_unless_they_are_listed(
    one: str, other: str, kind: str, own: Path
) -> None:
    (own / one).rename(own / other)
    if kind == "domains":
        shutil.copytree(own / other, own / one)
    with pytest.raises(SettingError, match=rf"differ by case or spaces alone; rename one, .*dataset.options.{kind}"):
        DomainFolder(str(own), 16)
    listed = {"classes": ["bicycle", "Bicycle"], "domains": ["photo", "Photo"]}[kind]
    assert set(getattr(DomainFolder(str(own), 16, **{kind: listed}), kind)) == set(listed)


def test_classes_are_chosen_by_name_or_number(own: Path) -> None:
    dataset = DomainFolder(str(own), 16, classes=["hot air balloon", 0], test=0, validation=0)
    assert (dataset.classes, dataset.class_numbers) == (("aircraft carrier", "hot air balloon"), (0, 2))
    assert dataset.labels("photo", "train").tolist() == [0, 0, 1, 1]
    with pytest.raises(
        SettingError, match=r"dataset.options.classes=car: is no class of the data set; the classes are"
    ):
        DomainFolder(str(own), 16, classes=["car", 0])


def test_a_single_class_is_refused_when_the_data_set_is_opened(own: Path) -> None:
    config = DatasetConfig("own", "fedra_ray.data.domain_folder.DomainFolder", str(own), {"classes": ["bicycle"]})
    with pytest.raises(SettingError, match="has only the class bicycle; there must be two at least"):
        open_dataset(config, 16)
    config.options = {"test": 0, "validation": 0}
    assert in_numbers(open_dataset(config, 16)) == "4 domains, 3 classes, 24 train, 0 validation, 0 test images"


def test_a_domain_that_was_asked_for_has_images(own: Path) -> None:
    (own / "empty" / "bicycle").mkdir(parents=True)
    assert DomainFolder(str(own), 16).notes == ("passed over 1 folders without an image: empty",)
    with pytest.raises(SettingError, match=r"dataset.options.domains=empty: has no images at"):
        DomainFolder(str(own), 16, domains=["photo", "empty"])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo" / "bicycle").mkdir(parents=True)
    with pytest.raises(SettingError, match=r"has no images at {domain}/{class}/image.jpg"):
        DomainFolder(str(tmp_path), 16)


def test_a_missing_root_says_what_it_should_contain(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no such folder; it should contain .*{domain}/{class}/image.jpg"):
        DomainFolder(str(tmp_path / "nowhere"), 16)


def test_damaged_images_are_named_when_they_are_needed(tmp_path: Path) -> None:
    write_domain_folder(tmp_path, images=4, damage=["text", "truncated"])
    dataset = DomainFolder(str(tmp_path), 16, test=0, validation=0)
    assert dataset.images("art painting", "train", np.array([0, 1, *range(4, 12)])).shape == (10, 3, 16, 16)
    for index, reason in ((2, "000003.jpg: .*[Tt]runcated"), (3, "000004.png: not an image of a known format")):
        with pytest.raises(ImageError, match=f"aircraft carrier/art painting_001_{reason}"):
            dataset.images("art painting", "train", np.array([index]))
