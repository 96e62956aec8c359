"""The pieces that the benchmark's properties are measured with."""

import pytest
import torch
from torch import nn

from analysis.questions import properties
from analysis.questions.properties import Data, Split

CLASSES = 3


@pytest.fixture
def data() -> Data:
    """Classes that one pixel tells apart, in two domains."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % CLASSES
    images = torch.rand(60, 3, 32, 32, generator=generator) * 0.1
    images[torch.arange(60), labels] += 1
    split = Split(images, labels, torch.arange(60) % 2)
    return Data(dict.fromkeys(("train", "validation", "test"), split), ["a", "b"])


class Channels(nn.Module):
    """Means of the channels, by way of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Identity(), nn.Tanh())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.blocks(images.mean((2, 3)))


def test_a_probe_tells_apart_what_features_tell_apart(data: Data) -> None:
    assert properties.probe(Channels(), [0, 1], data) == 1


def test_a_probe_of_features_that_say_nothing_is_at_chance(data: Data) -> None:
    model = Channels()
    model.blocks[1] = nn.Hardtanh(0, 1e-30)  # the same features for every image
    assert properties.probe(model, [1], data) == pytest.approx(1 / CLASSES)


@pytest.mark.parametrize("backbone", ["glyph_vit", "glyph_mixer"])
def test_lora_changes_nothing_before_training_and_alone_is_trained(backbone: str) -> None:
    frozen, adapted = (properties.load_backbone(backbone) for _ in range(2))
    model = properties.with_lora(adapted, CLASSES)
    trained = {name.rpartition(".")[2] for name, value in model[0].named_parameters() if value.requires_grad}
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert trained == {"lora_A", "lora_B"}
    # one records a graph, the other does not: other kernels
    torch.testing.assert_close(model[0](images), frozen(images), rtol=1e-4, atol=1e-5)
