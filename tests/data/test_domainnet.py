import shutil
from pathlib import Path

import numpy as np
import pytest
from support import DOMAINNET, write_domainnet

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.dataset import open_dataset
from fedra_ray.data.domainnet import DomainNet
from fedra_ray.data.image import decode


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("domainnet")
    write_domainnet(folder)
    return str(folder)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A tree to change: two training images and one test image a class and domain."""
    write_domainnet(tmp_path, train=2, test=1)
    return tmp_path


def test_the_lists_say_domains_classes_and_splits(root: str) -> None:
    dataset = DomainNet(root, 16)
    assert dataset.domains == DOMAINNET
    assert dataset.classes == ("aircraft_carrier", "bicycle", "hot_air_balloon")
    for domain in DOMAINNET:
        assert dataset.labels(domain, "train").tolist() == [0] * 6 + [1] * 6 + [2] * 6
        assert dataset.labels(domain, "validation").tolist() == []
        assert dataset.labels(domain, "test").tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_all_images_are_decoded_from_their_files(root: str) -> None:
    dataset = DomainNet(root, 16)
    images = dataset.images("quickdraw", "test", np.array([8, 0]))
    for image, name in zip(
        images, ("hot_air_balloon/quickdraw_003_000009", "aircraft_carrier/quickdraw_001_000007"), strict=True
    ):
        (file,) = Path(root, "quickdraw").glob(f"{name}.*")
        assert image.tolist() == decode(file, 16, str(file)).tolist()


def test_every_image_can_be_decoded(root: str) -> None:
    dataset = DomainNet(root, 16)
    for domain in DOMAINNET:
        for split, count in (("train", 18), ("test", 9)):
            images = dataset.images(domain, split, np.arange(count))
            assert (images.reshape(count, -1).std(axis=1) > 5).all()


def test_fewer_classes_can_be_taken(root: str) -> None:
    dataset = DomainNet(root, 16, num_classes=2)
    assert dataset.classes == ("aircraft_carrier", "bicycle")
    assert dataset.labels("sketch", "train").tolist() == [0] * 6 + [1] * 6
    assert dataset.labels("sketch", "test").tolist() == [0] * 3 + [1] * 3


def test_classes_beyond_the_number_taken_are_not_left_out_unseen(root: str) -> None:
    assert DomainNet(root, 16).notes == ("dataset.options.num_classes=100 leaves out 1 of 4 classes",)
    whole = DomainNet(root, 16, num_classes=345)
    assert whole.classes == ("aircraft_carrier", "bicycle", "hot_air_balloon", "zebra")
    assert whole.class_numbers == (0, 1, 2, 120)
    assert sorted(set(whole.labels("real", "train"))) == [0, 1, 2, 3]
    (note,) = whole.notes
    assert note.startswith("labels 0 to 3 stand for the data set's numbers 0 (aircraft_carrier)")


def test_classes_are_chosen_whatever_their_number(root: str) -> None:
    dataset = DomainNet(root, 16, classes=["zebra", 1])
    assert (dataset.classes, dataset.class_numbers) == (("bicycle", "zebra"), (1, 120))
    assert sorted(set(dataset.labels("sketch", "test"))) == [0, 1]
    with pytest.raises(SettingError, match=r"dataset.options.classes=zebr: is no class"):
        DomainNet(root, 16, classes=["zebr", 1])


def test_the_images_of_other_classes_need_not_be_there(own: Path) -> None:
    for domain in DOMAINNET:
        shutil.rmtree(own / domain / "aircraft_carrier")
    assert len(DomainNet(str(own), 16, classes=["bicycle", "hot_air_balloon"]).labels("clipart", "train")) == 4


def test_validation_images_are_taken_from_training_alone(root: str) -> None:
    whole, split = DomainNet(root, 16), DomainNet(root, 16, validation=0.5)
    for domain in DOMAINNET:
        assert split.labels(domain, "train").tolist() == [0] * 3 + [1] * 3 + [2] * 3
        assert split.labels(domain, "validation").tolist() == [0] * 3 + [1] * 3 + [2] * 3
        assert split.labels(domain, "test").tolist() == whole.labels(domain, "test").tolist()
    parts = [split.images("real", name, np.arange(9)) for name in ("train", "validation")]
    images = whole.images("real", "train", np.arange(18))
    assert sorted(image.tobytes() for image in np.concatenate(parts)) == sorted(image.tobytes() for image in images)


def test_a_configuration_names_the_data_set(root: str) -> None:
    config = DatasetConfig("domainnet", "fedra_ray.data.domainnet.DomainNet", root, {"num_classes": 2})
    assert open_dataset(config, 16).classes == ("aircraft_carrier", "bicycle")


def test_a_missing_root_says_what_it_should_contain(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no such folder; it should contain .*splits/clipart_train.txt"):
        DomainNet(str(tmp_path / "nowhere"), 16)


@pytest.mark.parametrize("name", ["clipart_train.txt", "sketch_test.txt"])
def test_a_missing_list_is_named(name: str, own: Path) -> None:
    (own / "splits" / name).unlink()
    with pytest.raises(SettingError, match=f"splits/{name}: is not a readable split file"):
        DomainNet(str(own), 16)


def test_a_malformed_line_is_named(own: Path) -> None:
    with (own / "splits" / "painting_test.txt").open("a") as lines:
        lines.write("painting/bicycle/extra.jpg\n")
    with pytest.raises(SettingError, match=r"splits/painting_test.txt, line 5: must be `domain/class/image label`"):
        DomainNet(str(own), 16)


def test_a_label_of_two_classes_is_refused(own: Path) -> None:
    with (own / "splits" / "real_test.txt").open("a") as lines:
        lines.write("real/windmill/extra.jpg 1\n")
    with pytest.raises(SettingError, match="label 1 stands for bicycle and for windmill"):
        DomainNet(str(own), 16)


def test_lists_without_their_images_are_refused(own: Path) -> None:
    (own / "clipart").rename(own / "elsewhere")
    first = "clipart/aircraft_carrier/clipart_001_000001.jpg"
    with pytest.raises(SettingError, match=f"the lists in splits/ name {first}, which is not there"):
        DomainNet(str(own), 16)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [("missing", "no such file"), ("text", "not an image of a known format"), ("truncated", "truncated")],
)
def test_a_damaged_image_is_named_when_it_is_needed(damage: str, reason: str, tmp_path: Path) -> None:
    write_domainnet(tmp_path, damage=[damage])
    dataset = DomainNet(str(tmp_path), 16)
    assert dataset.images("clipart", "train", np.arange(5)).shape == (5, 3, 16, 16)
    with pytest.raises(ImageError, match=rf"clipart/aircraft_carrier/clipart_001_000006\.png: .*{reason}"):
        dataset.images("clipart", "train", np.arange(6))
