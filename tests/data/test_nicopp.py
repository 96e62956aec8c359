from pathlib import Path

import numpy as np
import pytest
from support import NICOPP, write_nicopp

from fedra_ray.config.errors import SettingError
from fedra_ray.data.image import decode
from fedra_ray.data.nicopp import NicoPlusPlus


@pytest.fixture(scope="module", params=["NICO_DG/", ""], ids=["from the root", "from the domain"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tree for each of the two ways in which lists begin their paths."""
    folder = tmp_path_factory.mktemp("nicopp")
    write_nicopp(folder, prefix=request.param)
    return str(folder)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A tree to change: two training images and one test image a class and domain."""
    write_nicopp(tmp_path, train=2, test=1)
    return tmp_path


def test_labels_are_those_of_the_lists(root: str) -> None:
    dataset = NicoPlusPlus(root, 16)
    assert dataset.domains == NICOPP
    assert dataset.classes == ("hot air balloon", "aircraft carrier", "bicycle")
    for domain in NICOPP:
        assert dataset.labels(domain, "train").tolist() == [0] * 6 + [1] * 6 + [2] * 6
        assert dataset.labels(domain, "validation").tolist() == []
        assert dataset.labels(domain, "test").tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_images_of_names_with_spaces_are_decoded(root: str) -> None:
    (image,) = NicoPlusPlus(root, 16).images("dim", "train", np.array([1]))
    file = Path(root, "NICO_DG", "dim", "hot air balloon", "dim_001_000002.jpg")
    assert image.tolist() == decode(file, 16, "").tolist()


def test_every_image_can_be_decoded(root: str) -> None:
    dataset = NicoPlusPlus(root, 16)
    for domain in NICOPP:
        assert dataset.images(domain, "train", np.arange(18)).shape == (18, 3, 16, 16)
        assert dataset.images(domain, "test", np.arange(9)).shape == (9, 3, 16, 16)


def test_fewer_classes_can_be_taken(root: str) -> None:
    dataset = NicoPlusPlus(root, 16, num_classes=2)
    assert dataset.classes == ("hot air balloon", "aircraft carrier")
    assert dataset.labels("water", "train").tolist() == [0] * 6 + [1] * 6


def test_both_kinds_of_lists_hold_out_images_for_validation(root: str) -> None:
    dataset = NicoPlusPlus(root, 16, validation=1 / 3)
    for domain in NICOPP:
        assert dataset.labels(domain, "train").tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert dataset.labels(domain, "validation").tolist() == [0] * 2 + [1] * 2 + [2] * 2


def test_lists_without_their_images_are_refused(own: Path) -> None:
    (own / "NICO_DG").rename(own / "images")
    first = "NICO_DG/autumn/hot air balloon/autumn_001_000001.jpg"
    with pytest.raises(SettingError, match=f"the lists name {first}, which is neither there nor in NICO_DG"):
        NicoPlusPlus(str(own), 16)


def test_a_missing_list_is_named(own: Path) -> None:
    (own / "NICO_DG_official" / "rock_test.txt").unlink()
    with pytest.raises(SettingError, match=r"NICO_DG_official/rock_test.txt: is not a readable split file"):
        NicoPlusPlus(str(own), 16)


def test_a_missing_root_says_what_it_should_contain(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"it should contain NICO_DG/ .*NICO_DG_official/autumn_train.txt"):
        NicoPlusPlus(str(tmp_path / "nowhere"), 16)


def test_a_label_that_no_list_has_leaves_no_gap(own: Path) -> None:
    for file in (own / "NICO_DG_official").iterdir():
        file.write_text("".join(line for line in file.open() if not line.endswith(" 1\n")))
    dataset = NicoPlusPlus(str(own), 16)
    assert (dataset.classes, dataset.class_numbers) == (("hot air balloon", "bicycle"), (0, 2))
    assert sorted(set(dataset.labels("dim", "train"))) == [0, 1]
    assert dataset.notes == ("labels 0 to 1 stand for the data set's numbers 0 (hot air balloon), 2 (bicycle)",)


def test_classes_are_chosen_by_name_or_label(root: str) -> None:
    dataset = NicoPlusPlus(root, 16, classes=["bicycle", 0])
    assert dataset.classes == ("hot air balloon", "bicycle")
    assert dataset.labels("rock", "test").tolist() == [0] * 3 + [1] * 3
