import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support import local_round

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.methods.depthfl import DepthFL
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import Batch, SubModel

VALUES = np.zeros(0, np.float32)  # the loss does not look at where a round began


@pytest.fixture
def model(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel], random_values: Callable[..., np.ndarray]
) -> SubModel:
    made = make_model(vit_config, DepthFL(Problem(4, (3, 1, 2))).head_names)
    made.load(random_values(made.layout), range(len(made.layout.entries)))
    return made.eval()


def shares(scores: torch.Tensor) -> np.ndarray:
    exponentials = np.exp(scores.detach().double().numpy())
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_every_depth_of_the_fleet_has_an_exit() -> None:
    method = DepthFL(Problem(12, (12, 4, 8, 4)))
    assert method.head_names == ("exit_4", "exit_8", "exit_12")
    assert method.allocate([4, 8], np.random.default_rng(0)).sum(axis=1).tolist() == [4, 8]


def test_a_client_holds_the_first_layers_and_the_exits_up_to_its_depth() -> None:
    method = DepthFL(Problem(4, (3, 1, 2)))
    found = method.allocate([3, 1], np.random.default_rng(0))
    assert found.astype(int).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert method.named((0,)) == ("exit_1",)
    assert method.named((0, 1, 2)) == ("exit_1", "exit_2", "exit_3")


@pytest.mark.parametrize("progress", [0.25, 1.0])
@pytest.mark.parametrize("distillation", [0.0, 1.0, 2.5])
def test_loss_is_cross_entropy_of_every_exit_and_their_mutual_divergence(
    progress: float, distillation: float, model: SubModel, images: torch.Tensor, labels: torch.Tensor
) -> None:
    method = DepthFL(Problem(4, (3, 1, 2), rounds=4), distillation)
    predictions = [shares(score) for score in model.exit_logits(images, (0, 1, 2), list(method.exits.items()))]
    expected = sum(-np.log(each[np.arange(6), labels]).mean() for each in predictions)
    divergence = 0.0
    for student in predictions:
        for teacher in predictions:
            divergence += (teacher * np.log(teacher / student)).sum(axis=1).mean() / 2
    expected += distillation * math.exp(-5 * (1 - progress) ** 2) * divergence
    found = method.loss(model, Batch(images, labels), local_round(model.layout, VALUES, (0, 1, 2), round(4 * progress)))
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert divergence > 0.01


def test_a_client_with_one_exit_has_nobody_to_learn_from(
    model: SubModel, images: torch.Tensor, labels: torch.Tensor
) -> None:
    method = DepthFL(Problem(4, (3, 1, 2)))
    (prediction,) = (shares(score) for score in model.exit_logits(images, (0,), list(method.exits.items())))
    found = method.loss(model, Batch(images, labels), local_round(model.layout, VALUES, (0,)))
    assert found.item() == pytest.approx(-np.log(prediction[np.arange(6), labels]).mean(), rel=1e-5)


def test_distillation_moves_the_student_alone(model: SubModel, images: torch.Tensor, labels: torch.Tensor) -> None:
    """The exits' gradient is that of the formula with every teacher held fixed."""
    method = DepthFL(Problem(4, (3, 1, 2)))
    heads = [model.heads[name].bias for name in method.head_names]
    found = torch.autograd.grad(
        method.loss(model, Batch(images, labels), local_round(model.layout, VALUES, (0, 1, 2))), heads
    )
    predictions = [shares(score) for score in model.exit_logits(images, (0, 1, 2), list(method.exits.items()))]
    target = np.eye(3)[labels]
    for index, gradient in enumerate(found):
        own = predictions[index]
        teachers = [other for number, other in enumerate(predictions) if number != index]
        expected = (own - target).mean(axis=0) + sum((own - teacher).mean(axis=0) for teacher in teachers) / 2
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_ensemble_averages_the_probabilities_of_all_exits(model: SubModel, images: torch.Tensor) -> None:
    method = DepthFL(Problem(4, (3, 1, 2)))
    scores = model.exit_logits(images, (0, 1, 2), list(method.exits.items()))
    expected = np.mean([shares(score) for score in scores], axis=0)
    np.testing.assert_allclose(shares(method.predict(model, images)), expected, rtol=1e-5)
    assert method.evaluated_layers == (0, 1, 2)


def test_last_takes_the_deepest_exit(model: SubModel, images: torch.Tensor) -> None:
    method = DepthFL(Problem(4, (3, 1, 2)), prediction="last")
    deepest = model.logits(images, (0, 1, 2), head="exit_3")
    torch.testing.assert_close(method.predict(model, images), deepest, rtol=1e-4, atol=1e-5)  # up to rounding


def test_a_class_that_every_exit_rules_out_keeps_a_finite_score(model: SubModel, images: torch.Tensor) -> None:
    with torch.no_grad():
        for name in DepthFL(Problem(4, (3, 1, 2))).head_names:
            model.heads[name].bias[0] = -500
    assert torch.isfinite(DepthFL(Problem(4, (3, 1, 2))).predict(model, images)).all()


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(SettingError, match="must be one of ensemble, last") as refusal:
        DepthFL(Problem(4, (3, 1)), prediction="first")
    assert refusal.value.args[:2] == ("method.options.prediction", "first")


@pytest.mark.parametrize("distillation", [-1.0, float("nan")])
def test_a_negative_distillation_is_refused(distillation: float) -> None:
    with pytest.raises(SettingError, match="at least 0") as refusal:
        DepthFL(Problem(4, (3, 1)), distillation)
    assert refusal.value.args[0] == "method.options.distillation"


def test_exits_and_a_shared_head_as_the_authors_have_them(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel], images: torch.Tensor, labels: torch.Tensor
) -> None:
    method = DepthFL(Problem(4, (4, 2, 1)), prediction="last", exits=[2, 3], shared_head=True)
    assert method.head_names == ("exit_2", "exit_3", "head")
    assert method.named((0,)) == ("head",)
    assert method.named((0, 1)) == ("exit_2", "head")
    assert method.named((0, 1, 2, 3)) == ("exit_2", "exit_3", "head")
    model = make_model(vit_config, method.head_names)
    values = np.random.default_rng(0).standard_normal(model.layout.segments[-1].stop).astype(np.float32)
    model.load(values, range(len(model.layout.entries)))
    model.eval()
    torch.testing.assert_close(method.predict(model, images), model.logits(images, range(4)), rtol=1e-4, atol=1e-5)
    own = shares(model.logits(images, (0,)))
    alone = method.loss(model, Batch(images, labels), local_round(model.layout, VALUES, (0,))).item()
    assert alone == pytest.approx(-np.log(own[np.arange(6), labels]).mean(), rel=1e-5)
    both = [shares(model.logits(images, (0, 1), head)) for head in ("exit_2", "head")]
    expected = sum(-np.log(each[np.arange(6), labels]).mean() for each in both)
    start = method.loss(model, Batch(images, labels), local_round(model.layout, VALUES, (0, 1), -(10**9))).item()
    assert start == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("exits", "allowed"),
    [
        ([2, 5], "between 1 and 4"),
        ([0, 2], "between 1 and 4"),
        ([2, 4], "depth 1 would have no exit"),
        ([1, 2], "never be trained; add 4"),
    ],
)
def test_exits_that_cannot_be_are_refused(exits: list[int], allowed: str) -> None:
    with pytest.raises(SettingError, match=allowed) as refusal:
        DepthFL(Problem(4, (4, 2, 1)), exits=exits)
    assert refusal.value.args[:2] == ("method.options.exits", exits)


def test_distillation_grows_with_the_rounds_or_with_the_authors_ramp() -> None:
    problem = Problem(4, (2, 4), rounds=100)
    assert DepthFL(problem).weight(100) == 1
    assert DepthFL(problem).weight(50) == pytest.approx(math.exp(-5 * 0.25))
    ramped = DepthFL(problem, ramp_rounds=500)
    assert ramped.weight(1) == pytest.approx(math.exp(-5))
    assert ramped.weight(100) == pytest.approx(math.exp(-5 * (1 - 99 / 500) ** 2))
    assert ramped.weight(700) == 1
    with pytest.raises(SettingError, match="ramp_rounds"):
        DepthFL(problem, ramp_rounds=0)


def test_the_whole_model_is_evaluated_where_nobody_is_deep_if_asked_for() -> None:
    problem = Problem(4, (2, 3))
    assert DepthFL(problem, shared_head=True).evaluated_layers == (0, 1, 2)
    assert DepthFL(problem, shared_head=True, whole_model=True).evaluated_layers == (0, 1, 2, 3)
    with pytest.raises(SettingError, match="shared_head"):
        DepthFL(problem, whole_model=True)
