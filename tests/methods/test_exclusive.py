import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.methods.exclusive import Exclusive
from fedra_ray.methods.method import Problem


def test_only_clients_that_hold_the_full_model_take_part() -> None:
    method = Exclusive(Problem(4, (4, 3, 4)))
    assert [method.eligible(depth) for depth in (4, 3)] == [True, False]
    assert method.allocate([4, 4], np.random.default_rng(0)).tolist() == [[True] * 4] * 2


def test_a_fleet_without_a_full_client_is_refused() -> None:
    with pytest.raises(SettingError, match="a client that can hold all 4 layers") as refusal:
        Exclusive(Problem(4, (3, 2)))
    assert refusal.value.args[:2] == ("fleet.depths", [3, 2])
