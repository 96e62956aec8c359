from collections.abc import Callable

import numpy as np
import torch

from fedra_ray.config.schema import BackboneConfig
from fedra_ray.methods.allsmall import AllSmall
from fedra_ray.methods.method import Problem
from fedra_ray.model.submodel import SubModel


def test_every_client_holds_what_the_smallest_can() -> None:
    method = AllSmall(Problem(4, (4, 2, 3)))
    expected = [[True, True, False, False]] * 3
    assert method.allocate([4, 2, 3], np.random.default_rng(0)).tolist() == expected


def test_the_smallest_of_the_fleet_counts_even_if_it_sits_out() -> None:
    assert AllSmall(Problem(4, (4, 1))).allocate([4], np.random.default_rng(0)).tolist() == [
        [True, False, False, False]
    ]


def test_prediction_ends_at_the_smallest_depth(
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    random_values: Callable[..., np.ndarray],
    images: torch.Tensor,
) -> None:
    model, method = make_model(vit_config), AllSmall(Problem(4, (4, 2)))
    model.load(random_values(model.layout), range(len(model.layout.entries)))
    assert method.evaluated_layers == (0, 1)
    predicted = method.predict(model.eval(), images)
    assert torch.equal(predicted, model.logits(images, (0, 1)))
    assert not torch.allclose(predicted, model.logits(images, range(4)))
