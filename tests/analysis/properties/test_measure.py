"""The pieces that the properties are measured with."""

import pytest
import torch
from torch import nn

from analysis.properties import measure
from analysis.properties.data import Data, Split, load_data
from analysis.properties.measure import Effort, Measuring
from fedra_ray import compose
from fedra_ray.model.backbone import build, create_model
from fedra_ray.model.weights import from_weights, load_weights

CLASSES = 3


@pytest.fixture
def data() -> Data:
    """Classes that one pixel tells apart, in two domains."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % CLASSES
    images = torch.rand(60, 3, 32, 32, generator=generator) * 0.1
    images[torch.arange(60), labels] += 1
    split = Split(images, labels, torch.arange(60) % 2)
    return Data(dict.fromkeys(("train", "validation", "test"), split), ("a", "b"), ("x", "y", "z"))


class Channels(nn.Module):
    """Means of the channels, by way of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Identity(), nn.Tanh())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.blocks(images.mean((2, 3)))


def backbone(name: str) -> nn.Module:
    config = compose(f"backbone={name}").backbone
    return from_weights(config, load_weights(config))


def test_mean_accuracy_weighs_domains_alike() -> None:
    split = Split(torch.zeros(3), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    assert split.mean_accuracy(torch.tensor([0, 1, 1])) == 0.75  # one of two, and one of one


def test_a_probe_tells_apart_what_features_tell_apart(data: Data) -> None:
    assert measure.probe(Channels(), [0, 1], data) == 1


def test_a_probe_of_features_that_say_nothing_is_at_chance(data: Data) -> None:
    model = Channels()
    model.blocks[1] = nn.Hardtanh(0, 1e-30)  # the same features for every image
    assert measure.probe(model, [1], data) == pytest.approx(1 / CLASSES)


@pytest.mark.parametrize("name", ["glyph_vit", "glyph_mixer"])
def test_lora_changes_nothing_before_training_and_alone_is_trained(name: str) -> None:
    frozen = backbone(name)
    model = measure.with_lora(backbone(name), CLASSES)
    trained = {part.rpartition(".")[2] for part, value in model[0].named_parameters() if value.requires_grad}
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert trained == {"lora_A", "lora_B"}
    # one records a graph, the other does not: other kernels
    torch.testing.assert_close(model[0](images), frozen(images), rtol=1e-4, atol=1e-5)


def small() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 16, "depth": 4, "embed_dim": 24, "num_heads": 2}
    return create_model("vit_tiny_patch16_224", sizes).requires_grad_(False).eval()


def test_the_first_seed_chooses_a_rate_and_the_same_seed_measures_the_same(data: Data) -> None:
    effort = Effort(steps=3, draws=1)
    first = Measuring(small, data, effort, seed=0)
    found = first.properties()
    assert first.rate in measure.LORA_RATES
    assert Measuring(small, data, effort, seed=0, rate=first.rate).properties() == found


def test_images_are_normalised_as_the_backbone_wants_and_domains_are_in_order() -> None:
    config = compose("dataset=glyphs", "+dataset.options.classes=[A,B]", "backbone=glyph_vit")
    loaded = load_data(config.dataset, config.backbone, 32)
    train = loaded.splits["train"]
    assert loaded.classes == ("A", "B")
    assert train.images.shape == (len(loaded.domains) * 2 * 48, 3, 32, 32)
    assert train.images.min() >= -1
    assert train.images.max() <= 1
    assert train.domains.tolist() == sorted(train.domains.tolist())
    assert build(config.backbone).num_features == 96
