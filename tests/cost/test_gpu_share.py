import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.cost.gpu_share import gpu_share


@pytest.mark.parametrize(
    ("depth", "full", "share"),
    [
        (12, 1.0, 1.0),
        (8, 1.0, 1.0),
        (6, 1.0, 1 / 2),
        (5, 1.0, 1 / 2),
        (4, 1.0, 1 / 3),
        (3, 1.0, 1 / 4),
        (12, 0.25, 1 / 4),
        (3, 0.25, 1 / 16),
        (1, 0.25, 1 / 48),
        (12, 2.0, 2.0),
        (9, 2.0, 2.0),
        (6, 2.0, 1.0),
        (3, 2.0, 1 / 2),
        (12, 0.0, 0.0),
    ],
)
def test_an_actor_reserves_its_part_of_a_full_share(depth: int, full: float, share: float) -> None:
    assert gpu_share(depth, 12, full) == share


@given(st.integers(1, 48), st.integers(1, 48), st.sampled_from([1 / 8, 1 / 3, 0.5, 1.0, 2.0, 3.0]))
def test_shares_are_enough_and_placeable(depth: int, num_layers: int, full: float) -> None:
    depth = min(depth, num_layers)
    share = gpu_share(depth, num_layers, full)
    assert full * depth / num_layers <= share + 1e-9 <= full + 2e-9
    if share < 1:
        assert 1 / share == pytest.approx(round(1 / share))
    else:
        assert share == int(share)
