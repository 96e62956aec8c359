import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import CLASSES, write_domain_folder

from fedra_ray.config.errors import ImageError, SettingError
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
    Image.new("RGB", (20, 20)).save(extra)
    dataset = DomainFolder(str(own), 16, test=0, validation=0)
    assert dataset.classes == ("aircraft carrier", "bicycle", "cat", "hot air balloon")
    assert dataset.labels("photo", "train").tolist() == [0, 0, 1, 1, 2, 3, 3]
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
