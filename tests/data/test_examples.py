from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import write_domainnet

from fedra_ray.config.errors import ImageError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.classes import Classes
from fedra_ray.data.dataset import Dataset, open_dataset
from fedra_ray.data.examples import Examples, in_turn
from fedra_ray.data.image import decode
from fedra_ray.data.source import ImageSource
from fedra_ray.data.tree import Item, TreeDataset

NO_MEAN, NO_STD = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
CACHES = ("memory", "node", "none")


class Recorded(Dataset):
    """Another data set, and which images were asked of it."""

    def __init__(self, dataset: Dataset) -> None:
        self.domains, self.classes = dataset.domains, dataset.classes
        self.asked: list[tuple[str, str, int]] = []
        self._dataset = dataset

    def labels(self, domain: str, split: str) -> np.ndarray:
        return self._dataset.labels(domain, split)

    def images(self, domain: str, split: str, indices: np.ndarray) -> np.ndarray:
        self.asked += [(domain, split, index) for index in indices.tolist()]
        return self._dataset.images(domain, split, indices)


@pytest.fixture(scope="module")
def shapes(world: Path) -> str:
    """Three domains with 24 training images, eight of each of three labels in turn."""
    return str(world / "shapes.parquet")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """DomainNet with three unreadable images: the last of the first class of clipart."""
    folder = tmp_path_factory.mktemp("damaged")
    write_domainnet(folder, train=6, test=1, damage=("truncated", "missing", "text"))
    return str(folder)


def settings(root: str, cache: str = "memory", folder: Path | None = None, **others: Any) -> DatasetConfig:
    name = "parquet.ParquetDataset" if root.endswith(".parquet") else "domainnet.DomainNet"
    where = {"memory": {}, "node": {"cache": str(folder)}, "none": {"memory_mb": 0}}[cache]
    return DatasetConfig(target=f"fedra_ray.data.{name}", root=root, **where, **others)


def make(
    config: DatasetConfig,
    parts: Sequence[tuple[str, Sequence[int]]],
    mean: torch.Tensor = NO_MEAN,
    std: torch.Tensor = NO_STD,
) -> Examples:
    """Training examples over a fresh source, whose data set records what it is asked for."""
    source = ImageSource(Recorded(open_dataset(config, 16)), config, 16)
    return Examples(source, "train", [(domain, np.array(indices)) for domain, indices in parts], mean, std)


def pixels(batch: torch.Tensor) -> list[Any]:
    return (batch * 255).round().int().tolist()


def test_positions_count_through_the_parts(shapes: str) -> None:
    dataset = open_dataset(settings(shapes), 16)
    examples = make(settings(shapes), [("noisy", [5, 2]), ("dark", [0, 23, 7])])
    assert len(examples) == 5
    ((images, labels),) = examples.batches([np.arange(5)])
    places = [("noisy", 5), ("noisy", 2), ("dark", 0), ("dark", 23), ("dark", 7)]
    assert labels.tolist() == [dataset.labels(domain, "train")[index] for domain, index in places]
    expected = [dataset.images(domain, "train", np.array([index]))[0].tolist() for domain, index in places]
    assert pixels(images) == expected


def test_batches_come_in_the_order_asked_for(shapes: str) -> None:
    examples = make(settings(shapes), [("dark", range(24)), ("light", range(24)), ("noisy", range(24))])
    ((everything, all_labels),) = examples.batches([np.arange(72)])
    orders = np.split(np.random.default_rng(0).permutation(72), [10, 20, 21, 50])
    batches = list(examples.batches(orders))
    assert len(batches) == 5
    for order, (images, labels) in zip(orders, batches, strict=True):
        assert pixels(images) == pixels(everything[order])  # up to rounding: batches of other sizes
        assert torch.equal(labels, all_labels[order])
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_an_image_can_be_in_a_batch_twice(shapes: str) -> None:
    examples = make(settings(shapes, "none"), [("dark", [4, 9])])
    ((images, labels),) = examples.batches([np.array([1, 0, 1])])
    first, other, again = pixels(images)
    assert first == again != other
    assert labels[0] == labels[2]


def test_no_batches_are_asked_for_and_none_come(shapes: str) -> None:
    examples = make(settings(shapes), [("dark", range(24))])
    assert list(examples.batches([])) == []
    assert examples.source.dataset.asked == []


def test_pixels_are_normalised_by_channel(tmp_path: Path) -> None:
    """(51/255 - 0.1) / 0.5, (102/255 - 0.2) / 0.25, (255/255 - 0.5) / 1."""
    Image.new("RGB", (16, 16), (51, 102, 255)).save(tmp_path / "image.png")
    dataset = TreeDataset(tmp_path, 16, [Item("image.png", 0, "x", "train")], Classes(("only",), (0,)))
    mean, std = torch.tensor([0.1, 0.2, 0.5]).view(3, 1, 1), torch.tensor([0.5, 0.25, 1.0]).view(3, 1, 1)
    source = ImageSource(dataset, DatasetConfig(), 16)
    ((images, _),) = Examples(source, "train", [("x", np.array([0]))], mean, std).batches([np.array([0])])
    assert images.shape == (1, 3, 16, 16)
    assert images[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.8, 0.5])
    torch.testing.assert_close(images, images[:, :, :1, :1].expand_as(images), rtol=1e-6, atol=1e-6)


def test_pixels_resized_as_the_authors_do_are_normalised_as_they_are(tmp_path: Path) -> None:
    shape = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(shape).save(tmp_path / "image.png")
    item = Item("image.png", 0, "x", "train")
    source = ImageSource(
        TreeDataset(tmp_path, 16, [item], Classes(("only",), (0,)), "authors"), DatasetConfig(resize="authors"), 16
    )
    half = torch.full((3, 1, 1), 0.5)
    ((images, _),) = Examples(source, "train", [("x", np.array([0]))], half, half).batches([np.array([0])])
    shares = decode(tmp_path / "image.png", 16, "image", "authors")
    assert (images[0].numpy() == (shares - 0.5) / 0.5).all()


@pytest.mark.parametrize("resize", ["antialias", "authors"])
@pytest.mark.parametrize("cache", CACHES)
def test_where_images_are_kept_changes_nothing(cache: str, resize: str, damaged: str, tmp_path: Path) -> None:
    parts = [("real", range(18)), ("sketch", range(18))]
    orders = [np.random.default_rng(seed).permutation(36)[:20] for seed in range(4)]
    expected = list(make(settings(damaged, "none", resize=resize), parts).batches(orders))
    found = list(make(settings(damaged, cache, tmp_path, resize=resize), parts).batches(orders))
    for (images, labels), (wanted, wanted_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, wanted)
        assert torch.equal(labels, wanted_labels)


@pytest.mark.parametrize(("cache", "times"), [("memory", 1), ("node", 1), ("none", 3)])
def test_an_image_is_decoded_once_where_it_can_be_kept(cache: str, times: int, shapes: str, tmp_path: Path) -> None:
    examples = make(settings(shapes, cache, tmp_path), [("dark", range(24))])
    for _ in range(3):
        list(examples.batches(in_turn(24, 7)))
    assert sorted(examples.source.dataset.asked) == sorted([("dark", "train", index) for index in range(24)] * times)


def test_a_second_source_decodes_nothing_that_the_node_has(shapes: str, tmp_path: Path) -> None:
    config = settings(shapes, "node", tmp_path)
    list(make(config, [("dark", range(10))]).batches(in_turn(10, 4)))
    examples = make(config, [("dark", range(12))])
    list(examples.batches(in_turn(12, 4)))
    assert sorted(examples.source.dataset.asked) == [("dark", "train", 10), ("dark", "train", 11)]


def test_a_damaged_image_in_the_node_cache_is_decoded_anew(shapes: str, tmp_path: Path) -> None:
    config = settings(shapes, "node", tmp_path)
    (first,) = make(config, [("dark", range(4))]).batches([np.arange(4)])
    (file,) = tmp_path.glob("*.pixels")
    content = bytearray(file.read_bytes())
    content[2 * 3 * 16 * 16 + 5] ^= 1  # in the third image
    file.write_bytes(content)
    examples = make(config, [("dark", range(4))])
    (again,) = examples.batches([np.arange(4)])
    assert torch.equal(first[0], again[0])
    assert examples.source.dataset.asked == [("dark", "train", 2)]
    repaired = make(config, [("dark", range(4))])
    list(repaired.batches([np.arange(4)]))
    assert repaired.source.dataset.asked == []


def test_an_unreadable_image_ends_the_pass_with_its_name(damaged: str) -> None:
    examples = make(settings(damaged), [("real", range(18)), ("clipart", range(18))])
    batches = examples.batches(in_turn(36, 18))
    next(batches)
    with pytest.raises(ImageError, match=r"clipart/aircraft_carrier/clipart_001_000004\.png: not an image"):
        next(batches)


UNREADABLE = {
    "clipart_001_000004.png": "not an image of a known format",
    "clipart_001_000005.png": "no such file",
    "clipart_001_000006.png": "image file is truncated",
}


@pytest.mark.parametrize("cache", CACHES)
def test_unreadable_images_can_be_left_out_and_are_named(cache: str, damaged: str, tmp_path: Path) -> None:
    config = settings(damaged, cache, tmp_path, on_error="skip")
    examples = make(config, [("real", range(18)), ("clipart", range(18))])
    ((whole, _),) = make(settings(damaged), [("real", range(18))]).batches([np.arange(18)])
    for _ in range(2):
        ((images, labels),) = examples.batches([np.array([20, 3, 21, 22, 23, 24])])  # clipart's 2, 3, 4, 5 and 6
        assert labels.tolist() == [0, 0, 1]
        assert pixels(images)[1] == pixels(whole)[3]
    found = {Path(name).name: reason for name, reason in examples.skipped}
    assert found.keys() == UNREADABLE.keys()
    assert all(found[name].startswith(reason) for name, reason in UNREADABLE.items())
    assert all(name.startswith(damaged) for name, _ in examples.skipped)


def test_all_readable_images_stay(damaged: str) -> None:
    examples = make(settings(damaged, on_error="skip"), [("clipart", range(18))])
    batches = list(examples.batches(in_turn(18, 4)))
    assert [len(labels) for _, labels in batches] == [3, 2, 4, 4, 2]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0] * 3 + [1] * 6 + [2] * 6
    dataset = open_dataset(settings(damaged), 16)
    expected = dataset.images("clipart", "train", np.array([0, 1, 2, *range(6, 18)]))
    assert pixels(torch.cat([images for images, _ in batches])) == expected.tolist()


def test_a_batch_of_unreadable_images_does_not_come(damaged: str) -> None:
    examples = make(settings(damaged, on_error="skip"), [("clipart", range(18))])
    batches = list(examples.batches([np.array([3, 4]), np.array([0]), np.array([5])]))
    assert [labels.tolist() for _, labels in batches] == [[0]]
    assert len(examples.skipped) == 3


def test_only_images_that_were_asked_for_are_counted_as_left_out(damaged: str) -> None:
    examples = make(settings(damaged, on_error="skip"), [("clipart", range(18))])
    list(examples.batches([np.array([0, 1, 2]), np.array([3, 8])]))
    assert [Path(name).name for name, _ in examples.skipped] == ["clipart_001_000004.png"]


def test_every_client_of_a_source_is_told_what_was_left_out(damaged: str) -> None:
    config = settings(damaged, on_error="skip")
    source = ImageSource(open_dataset(config, 16), config, 16)
    clients = [Examples(source, "train", [("clipart", np.arange(6))], NO_MEAN, NO_STD) for _ in range(2)]
    for examples in clients:
        list(examples.batches(in_turn(6, 6)))
    assert clients[0].skipped == clients[1].skipped
    assert len(clients[1].skipped) == 3


@pytest.mark.parametrize(
    ("count", "batch_size", "expected"),
    [(5, 2, [[0, 1], [2, 3], [4]]), (4, 2, [[0, 1], [2, 3]]), (3, 8, [[0, 1, 2]])],
)
def test_batches_in_turn_go_once_through_all(count: int, batch_size: int, expected: list[list[int]]) -> None:
    assert [positions.tolist() for positions in in_turn(count, batch_size)] == expected
