"""Methods that are an allocation and nothing else: who trains which layers."""

import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.anchored import Anchored
from fedra_ray.methods.fedhello import FedHello, three_groups
from fedra_ray.methods.gradient_norms import ROUNDS, SQUARES
from fedra_ray.methods.legend import Legend
from fedra_ray.methods.method import Problem
from fedra_ray.methods.selective import Selective
from fedra_ray.methods.suffix import Suffix
from fedra_ray.methods.window import Window
from fedra_ray.preflight import check_experiment

PROBLEM = Problem(12, (3, 6))


def state(squares: list[float], rounds: int) -> ServerState:
    arrays = {SQUARES: np.array(squares, dtype=np.float64), ROUNDS: np.array(rounds)}
    return ServerState(np.zeros(1, np.float32), arrays)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_suffix_trains_the_last_layers() -> None:
    assert np.flatnonzero(Suffix(PROBLEM).allocate([3], rng())[0]).tolist() == [9, 10, 11]


def test_window_trains_consecutive_layers_at_another_place_each_round() -> None:
    random = rng()
    rows = [np.flatnonzero(Window(PROBLEM).allocate([4], random)[0]) for _ in range(30)]
    assert {tuple(np.diff(row)) for row in rows} == {(1, 1, 1)}
    assert len({row[0] for row in rows}) > 4


@pytest.mark.parametrize(("last", "anchors"), [(False, [0]), (True, [0, 11])])
def test_anchored_always_trains_its_anchors(last: bool, anchors: list[int]) -> None:
    matrix = Anchored(PROBLEM, last=last).allocate([3] * 50, rng())
    assert matrix[:, anchors].all()
    assert np.flatnonzero(matrix.all(axis=0)).tolist() == anchors


def test_legend_s_ranks_rise_towards_the_output() -> None:
    method = Legend(PROBLEM, first=2, last=8)
    assert method.ranks((9, 10, 11)) == {9: 7, 10: 7, 11: 8}
    assert method.ranks((0, 4)) == {0: 2, 4: 4}
    with pytest.raises(SettingError, match=r"method\.options\.first"):
        Legend(PROBLEM, first=9)


def test_selective_trains_the_layers_of_largest_gradient_and_first_those_that_nobody_has_held() -> None:
    method = Selective(Problem(5, (2,)))
    assert np.flatnonzero(method.allocate([2], rng(), state([1, 9, 3, 8, 2], 1))[0]).tolist() == [1, 3]
    assert np.flatnonzero(method.allocate([2], rng(), state([1, 9, np.inf, 8, 2], 1))[0]).tolist() == [1, 2]


def test_fed_hello_draws_by_shape_and_every_so_often_by_gradients() -> None:
    method = FedHello(PROBLEM, shape="bone", every=4)
    bone = [3, 3, 3, 2, 2, 1, 1, 1, 2, 3, 3, 3]
    assert method.weights(None).tolist() == bone
    squares = [1.0, 1.1, 0.9, 5.0, 5.1, 5.2, 9.0, 9.1, 9.2, 1.0, 5.0, 9.0]
    assert method.weights(state(squares, 3)).tolist() == bone
    assert method.weights(state(squares, 4)).tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 2, 3]
    assert method.weights(state([np.inf, *squares[1:]], 4)).tolist() == bone
    assert FedHello(PROBLEM, every=0).weights(state(squares, 4)).tolist() == bone


def test_fed_hello_s_shapes_are_stretched_over_other_depths() -> None:
    assert FedHello(Problem(4, (2,)), shape="triangle").shape.tolist() == [12, 8, 5, 1]
    with pytest.raises(SettingError, match=r"method\.options\.shape"):
        FedHello(PROBLEM, shape="square")


def test_three_groups_are_the_best_clusters_of_a_line() -> None:
    assert three_groups(np.array([10.0, 0.0, 5.0, 0.1, 10.1])).tolist() == [3, 1, 2, 1, 3]
    assert three_groups(np.array([1.0, 2.0])).tolist() == [1, 1]


def test_ranks_beyond_the_adapter_s_are_refused(config: ExperimentConfig) -> None:
    config.method = MethodConfig("legend", target="fedra_ray.methods.legend.Legend", options={"last": 16})
    with pytest.raises(SettingError, match=r"lora\.rank=8: must be at least 16"):
        check_experiment(config)
