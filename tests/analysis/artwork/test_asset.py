"""The shipped artwork is what its rules say."""

import io
from collections import defaultdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from analysis.artwork.concepts import CLASSES
from analysis.artwork.packages import LICENCES, read_packages
from analysis.artwork.split import NEAR, thumbnail
from analysis.artwork.styles import DOMAINS
from analysis.glyphs.pretrain import only_blocks
from fedra_ray import compose
from fedra_ray.data.opening import open_labelled
from fedra_ray.model.backbone import input_size
from fedra_ray.model.weights import from_weights, load_weights

ROOT = Path(__file__).parents[3]
ARTWORK = Path(str(files("fedra_ray"))) / "assets" / "artwork.parquet"
SIDE = 60
LEAST = {"train": 7, "validation": 1, "test": 3}  # different drawings of a class in a domain
MOST = {"train": 44, "validation": 8, "test": 20}

Columns = dict[str, list[Any]]


@pytest.fixture(scope="module")
def columns() -> Columns:
    """The shipped file by column."""
    result: Columns = pq.read_table(ARTWORK).to_pydict()
    return result


def cells(columns: Columns) -> dict[tuple[str, str, str], list[str]]:
    """Sources of the images of every domain, split and class."""
    found = defaultdict(list)
    for domain, split, name, source in zip(
        columns["domain"], columns["split"], columns["label_name"], columns["source"], strict=True
    ):
        found[domain, split, name].append(source)
    return found


def test_the_file_is_small_and_every_class_is_in_every_domain_and_split(columns: Columns) -> None:
    found = cells(columns)
    assert ARTWORK.stat().st_size <= 12_000_000
    assert found.keys() == {(d, s, c) for d in DOMAINS for s in MOST for c in CLASSES}
    for (_, split, _), sources in found.items():
        assert LEAST[split] <= len(set(sources)) <= len(sources) <= MOST[split]
        assert len(sources) == (MOST["train"] if split == "train" else len(set(sources)))  # only training is multiplied


def test_labels_are_numbers_of_the_classes(columns: Columns) -> None:
    assert set(zip(columns["label"], columns["label_name"], strict=True)) == set(enumerate(CLASSES))


def test_nothing_that_one_vendor_calls_the_same_is_in_two_splits_or_classes(columns: Columns) -> None:
    splits, classes = defaultdict(set), defaultdict(set)
    for source, split, name in zip(columns["source"], columns["split"], columns["label_name"], strict=True):
        concept = source.partition("|")[2]
        splits[concept].add(split)
        classes[concept].add(name)
    assert {len(found) for found in splits.values()} == {1}
    assert {len(found) for found in classes.values()} == {1}


def test_held_out_images_do_not_nearly_equal_training_images_of_any_domain(columns: Columns) -> None:
    hashes: dict[bool, list[NDArray[np.float32]]] = defaultdict(list)
    for content, split in zip(columns["image"], columns["split"], strict=True):
        image = Image.open(io.BytesIO(content))
        assert (image.size, image.mode) == ((SIDE, SIDE), "RGB")
        hashes[split == "train"].append(thumbnail(image))
    train, held = np.stack(hashes[True]), np.stack(hashes[False])
    distances = (held**2).sum(1)[:, None] + (train**2).sum(1) - 2 * held @ train.T
    assert distances.min() / train.shape[1] >= NEAR - 1e-6


def test_every_drawing_is_of_a_package_of_its_domain_whose_licence_is_allowed_and_noted(columns: Columns) -> None:
    packages = read_packages()
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    vendors = defaultdict(set)
    for domain, source in zip(columns["domain"], columns["source"], strict=True):
        vendors[domain].add(source.partition("/")[0])
    assert vendors == {domain: {one.name for one in packages.values() if domain in one.domains} for domain in DOMAINS}
    assert {package.licence for package in packages.values()} <= set(LICENCES)
    for package in packages.values():
        assert f"{package.package} {package.version}" in notice


@pytest.mark.parametrize("backbone", ["artwork_vit", "artwork_mixer"])
def test_an_embedded_backbone_tells_unseen_drawings_apart_and_needs_its_depth(backbone: str) -> None:
    config = compose("dataset=artwork", f"backbone={backbone}")
    model: Any = from_weights(config.backbone, load_weights(config.backbone))
    data = open_labelled(config.dataset, config.backbone, input_size(model))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.backbone.mean, config.backbone.std))

    def read(split: str, blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = data.labels("flat", split)
        images = torch.from_numpy(data.images("flat", split, np.arange(len(labels)))).float() / 255
        with torch.inference_mode(), only_blocks(model, range(blocks)):
            return model((images - mean) / std), torch.from_numpy(labels)

    def accuracy(blocks: int) -> float:
        (known, labels), (unseen, expected) = read("train", blocks), read("test", blocks)
        centre, scale = known.mean(0), known.std(0)
        known, unseen = (known - centre) / scale, (unseen - centre) / scale
        wanted = torch.nn.functional.one_hot(labels).float()
        weights = torch.linalg.solve(known.T @ known + len(known) * torch.eye(known.shape[1]), known.T @ wanted)
        return float(((unseen @ weights).argmax(1) == expected).float().mean())

    assert accuracy(12) > 6 / 30  # six times chance
    assert accuracy(12) > accuracy(3) + 0.05
