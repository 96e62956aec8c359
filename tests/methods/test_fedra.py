import numpy as np
import pytest

from fedra_ray.errors import SettingError
from fedra_ray.methods.fedra import FedRA


def test_every_client_draws_its_depth_anew() -> None:
    method = FedRA(6, [4, 2, 1])
    matrices = [method.allocate([4, 2, 1], np.random.default_rng(seed)) for seed in range(10)]
    assert all(matrix.sum(axis=1).tolist() == [4, 2, 1] for matrix in matrices)
    assert len({matrix.tobytes() for matrix in matrices}) == 10


def test_a_full_client_holds_everything() -> None:
    assert FedRA(4, [4, 1]).allocate([4], np.random.default_rng(0)).all()


def test_without_cover_a_layer_may_be_nobody_s() -> None:
    matrix = FedRA(4, [1, 1]).allocate([1, 1], np.random.default_rng(0))
    assert not matrix.any(axis=0).all()


def test_with_cover_every_layer_has_a_holder() -> None:
    method = FedRA(4, [2, 1, 1], cover=True)
    for seed in range(20):
        assert method.allocate([2, 1, 1], np.random.default_rng(seed)).any(axis=0).all()


def test_cover_refuses_a_cohort_that_is_too_shallow() -> None:
    with pytest.raises(SettingError, match="set it to false") as refusal:
        FedRA(4, [2, 1], cover=True).allocate([2, 1], np.random.default_rng(0))
    assert refusal.value.args[:2] == ("allocation.cover", True)


def test_the_whole_model_is_evaluated() -> None:
    method = FedRA(4, [2, 1])
    assert method.evaluated_layers == (0, 1, 2, 3)
    assert method.held_heads((1, 3)) == ("head",)
    assert method.eligible(1)
