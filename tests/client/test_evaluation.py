"""Scores of hand-made logits: the fake method reads the number of an image and looks its logits up in a table."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from fedra_ray.client.evaluation import evaluate
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.federation.messages import Score
from fedra_ray.methods.alllarge import AllLarge
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import SubModel
from fedra_ray.testing.examples import Given

LABELS = torch.tensor([0, 1, 2, 6, 3])
TABLE = torch.tensor(
    [
        [9.0, 0, 0, 0, 0, 0, 0],  # first
        [9.0, 8, 0, 0, 0, 0, 0],  # second
        [5.0, 4, 1, 3, 2, 0, 0],  # fifth
        [6.0, 5, 4, 3, 2, 1, 0],  # seventh
        [0.0, 1, 2, 8, 9, 3, 4],  # second
    ]
)


class Lookup(AllLarge):
    """Image i has the logits TABLE[i]."""

    def __init__(self, table: Tensor) -> None:
        super().__init__(Problem(4, (4,)))
        self.table = table

    def predict(self, model: SubModel, inputs: Tensor) -> Tensor:
        assert not model.training
        assert torch.is_inference_mode_enabled()
        return self.table[inputs[:, 0, 0, 0].long()]


@pytest.fixture
def score(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel], random_values: Callable[..., np.ndarray]
) -> Callable[..., Score]:
    model = make_model(vit_config)

    def run(table: Tensor, labels: Tensor, batch_size: int = 100) -> Score:
        images = torch.arange(len(labels)).view(-1, 1, 1, 1).expand(-1, 3, 16, 16).float()
        values = random_values(model.layout)
        return evaluate(model, Lookup(table), Given(images, labels), values, "clipart", batch_size)

    return run


def test_counts_and_loss_of_hand_made_logits(score: Callable[..., Score]) -> None:
    found = score(TABLE, LABELS)
    assert (found.domain, found.split, found.examples) == ("clipart", "test", 5)
    assert (found.top1, found.top5) == (1, 4)
    assert found.by_class == ((1, 0, 0, 0, 0, 0, 0), (4, 0, 0, 0, 1, 0, 0), (1, 1, 1, 1, 0, 0, 1))
    assert (found.answers, found.exact) == (0, 0)
    exponentials = np.exp(TABLE.double().numpy())
    shares = exponentials[np.arange(5), LABELS] / exponentials.sum(axis=1)
    assert found.loss == pytest.approx(-np.log(shares).mean(), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_batch_size_changes_no_count(batch_size: int, score: Callable[..., Score]) -> None:
    whole, parts = score(TABLE, LABELS), score(TABLE, LABELS, batch_size)
    assert (parts.examples, parts.top1, parts.top5) == (whole.examples, whole.top1, whole.top5)
    assert parts.by_class == whole.by_class
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)


@pytest.mark.parametrize(("label", "top1", "top5"), [(0, 1, 1), (1, 0, 1), (4, 0, 1), (5, 0, 0), (39, 0, 0)])
def test_of_equal_scores_the_lower_class_comes_first(
    label: int, top1: int, top5: int, score: Callable[..., Score]
) -> None:
    found = score(torch.zeros(1, 40), torch.tensor([label]))
    assert (found.top1, found.top5) == (top1, top5)


def test_with_five_classes_or_fewer_every_label_is_among_the_first_five(score: Callable[..., Score]) -> None:
    found = score(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([2, 0]))
    assert (found.top1, found.top5) == (1, 2)


def test_the_scored_model_is_the_global_one(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Callable[..., np.ndarray],
    images: Tensor,
) -> None:
    model = make_model(vit_config)
    values, method = random_values(model.layout), AllLarge(Problem(4, (4,)))
    model.load(values, range(len(model.layout.entries)))
    predicted = model.eval().logits(images, range(4)).argmax(dim=1)
    model.load(random_values(model.layout, 1), model.layout.held([1], ["head"]))
    found = evaluate(model, method, Given(images, predicted), values, "clipart", 4)
    assert found.top1 == len(images)
