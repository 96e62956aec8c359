"""Which values travel: whole layers, one factor of them, or fewer ranks."""

from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.traffic import count_values


def layer(index: int) -> tuple[Entry, ...]:
    """Rank 4: A has 12 values, B 20."""
    return (Entry(f"blocks.{index}.fc.lora_A", (4, 3)), Entry(f"blocks.{index}.fc.lora_B", (5, 4)))


LAYOUT = Layout((layer(0), layer(1)), ((Entry("heads.head.weight", (2, 7)),),), ("head",))


def test_both_factors_of_every_layer_and_the_head_are_all_that_a_client_trains() -> None:
    assert count_values(LAYOUT, (0, 1), ("head",), {}, "AB") == LAYOUT.size == 2 * 32 + 14


def test_one_factor_is_its_own_size() -> None:
    assert count_values(LAYOUT, (1,), ("head",), {}, "A") == 12 + 14
    assert count_values(LAYOUT, (1,), ("head",), {}, "B") == 20 + 14


def test_fewer_ranks_are_fewer_rows_of_a_and_columns_of_b() -> None:
    assert count_values(LAYOUT, (0, 1), (), {0: 1}, "AB") == 3 + 5 + 32
    assert count_values(LAYOUT, (0,), (), {0: 9}, "AB") == 32
