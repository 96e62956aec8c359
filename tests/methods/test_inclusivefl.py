"""Layers and head are one number each, so that the momentum distillation can be worked out by hand."""

import numpy as np
import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.inclusivefl import InclusiveFL
from fedra_ray.methods.method import Problem

LAYOUT = Layout(tuple((Entry(str(layer), (1,)),) for layer in range(4)), ((Entry("head", (1,)),),), ("head",))
SEGMENTS = LAYOUT.segments
HEAD = 4
PREVIOUS = np.ones(5, dtype=np.float32)


def merged(sums: dict[int, MaskedSum], depths: tuple[int, ...], **options: float) -> np.ndarray:
    """The next adapter from sums by depth, of four layers and clients of these depths."""
    total = MaskedSums(LAYOUT)
    total.groups = sums
    return InclusiveFL(Problem(4, depths), **options).merge(ServerState(PREVIOUS), total).values


def groups(*updates: tuple[int, list[float], float], weight: int = 1) -> dict[int, MaskedSum]:
    """Sums by depth, of updates given as (depth, a value for each layer, value of the head)."""
    sums: dict[int, MaskedSum] = {}
    for depth, layers, head in updates:
        assert len(layers) == depth
        part = sums.setdefault(depth, MaskedSum(SEGMENTS))
        part.add([*range(depth), HEAD], np.array([*layers, head], dtype=np.float32), weight)
    return sums


def test_a_client_holds_the_first_layers() -> None:
    found = InclusiveFL(Problem(4, (4, 2, 1))).allocate([4, 2, 1], np.random.default_rng(0))
    assert found.astype(int).tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_clients_of_equal_depth_are_summed_together() -> None:
    method = InclusiveFL(Problem(4, (4, 2, 1)))
    assert method.group((0, 1)) == method.group((2, 3)) != method.group((0, 1, 2))


def test_momentum_takes_a_share_from_the_deeper_group() -> None:
    sums = groups((1, [3], 5), (3, [5, 9, 13], 7))
    result = merged(sums, (3, 1), momentum=0.2)
    # The deeper group moves layers 1 and 2 by 8 and 12, 10 on average; the shallower one moves layer 0 by 2.
    shallow = 1 + 0.8 * 2 + 0.2 * 10
    np.testing.assert_allclose(result, [(shallow + 5) / 2, 9, 13, 1, 6], rtol=1e-6)


def test_momentum_goes_from_each_group_to_the_next_shallower() -> None:
    sums = groups((1, [2], 1), (2, [3, 5], 1), (4, [1, 1, 11, 21], 1))
    result = merged(sums, (4, 2, 1), momentum=0.5)
    first = 1 + 0.5 * 1 + 0.5 * 4  # from layer 1 of depth 2, as its clients left it
    second = 1 + 0.5 * 4 + 0.5 * 15  # from layers 2 and 3 of depth 4
    np.testing.assert_allclose(result, [(first + 3 + 1) / 3, (second + 1) / 2, 11, 21, 1], rtol=1e-6)


def test_groups_weigh_by_their_clients() -> None:
    sums = groups((1, [3], 5), (1, [5], 5), (2, [6, 1], 8))
    result = merged(sums, (2, 1), momentum=0.25)
    shallow = 1 + 0.75 * 3 + 0.25 * 0
    np.testing.assert_allclose(result, [(2 * shallow + 6) / 3, 1, 1, 1, 6], rtol=1e-6)


def test_a_single_group_is_its_mean() -> None:
    sums = groups((2, [0.1, 0.7], 0.3), (2, [0.2, 0.4], 0.9))
    np.testing.assert_allclose(merged(sums, (2,)), sums[2].mean(PREVIOUS), rtol=1e-6)  # weighted once more on the way


def test_without_momentum_every_layer_is_the_mean_over_its_holders() -> None:
    sums = groups((1, [3], 5), (2, [5, 9], 7), (2, [1, 2], 0))
    result = merged(sums, (2, 1), momentum=0)
    assert result.tolist() == [3, 5.5, 1, 1, 4]


@pytest.mark.parametrize("momentum", [0, 0.2])
def test_order_of_arrival_changes_no_bit(momentum: float) -> None:
    updates = [(1, [0.3], 0.5), (2, [0.1, 0.9], 0.7), (4, [0.5, 0.2, 0.6, 0.8], 0.1), (2, [0.4, 0.3], 0.2)]
    forward, backward = (merged(groups(*order), (4, 2, 1), momentum=momentum) for order in (updates, updates[::-1]))
    assert forward.tobytes() == backward.tobytes()


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(momentum: float) -> None:
    with pytest.raises(SettingError, match="between 0 and 1") as refusal:
        InclusiveFL(Problem(4, (4,)), momentum)
    assert refusal.value.args[0] == "method.options.momentum"
