import numpy as np

from fedra_ray.methods.alllarge import AllLarge
from fedra_ray.methods.method import Problem


def test_every_client_holds_every_layer_whatever_its_depth() -> None:
    method = AllLarge(Problem(3, (3, 2, 1)))
    assert method.allocate([3, 2, 1, 1], np.random.default_rng(0)).tolist() == [[True] * 3] * 4
    assert all(method.eligible(depth) for depth in (1, 2, 3))
    assert method.evaluated_layers == (0, 1, 2)
