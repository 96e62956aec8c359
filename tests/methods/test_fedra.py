import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.method import Problem


def test_every_client_draws_its_depth_anew() -> None:
    method = FedRA(Problem(6, (4, 2, 1)))
    matrices = [method.allocate([4, 2, 1], np.random.default_rng(seed)) for seed in range(10)]
    assert all(matrix.sum(axis=1).tolist() == [4, 2, 1] for matrix in matrices)
    assert len({matrix.tobytes() for matrix in matrices}) == 10


def test_a_full_client_holds_everything() -> None:
    assert FedRA(Problem(4, (4, 1))).allocate([4], np.random.default_rng(0)).all()


def test_of_a_uniform_draw_a_layer_may_be_nobody_s() -> None:
    matrix = FedRA(Problem(4, (1, 1))).allocate([1, 1], np.random.default_rng(0))
    assert not matrix.any(axis=0).all()


def test_of_a_covering_draw_every_layer_has_a_holder() -> None:
    method = FedRA(Problem(4, (2, 1, 1)), draw="covering")
    for seed in range(20):
        assert method.allocate([2, 1, 1], np.random.default_rng(seed)).any(axis=0).all()


def test_covering_refuses_a_cohort_that_is_too_shallow() -> None:
    with pytest.raises(SettingError, match="set it to uniform") as refusal:
        FedRA(Problem(4, (2, 1)), draw="covering").allocate([2, 1], np.random.default_rng(0))
    assert refusal.value.args[:2] == ("method.options.draw", "covering")


def test_the_whole_model_is_evaluated() -> None:
    method = FedRA(Problem(4, (2, 1)))
    assert method.evaluated_layers == (0, 1, 2, 3)
    assert method.named((1, 3)) == ("head",)
    assert method.eligible(1)


def test_a_prefix_draw_is_that_of_the_depth_wise_methods() -> None:
    matrix = FedRA(Problem(4, (2, 3)), draw="prefix").allocate([2, 3], np.random.default_rng(0))
    assert matrix.tolist() == [[True, True, False, False], [True, True, True, False]]


def test_an_unknown_draw_is_refused() -> None:
    with pytest.raises(SettingError, match="uniform, covering, balanced, prefix") as refusal:
        FedRA(Problem(4, (2,)), draw="greedy")
    assert refusal.value.args[:2] == ("method.options.draw", "greedy")
