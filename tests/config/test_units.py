import pytest

from fedra_ray.config.units import clock


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (185.4, "0:03:05"), (90000, "1 day, 1:00:00")])
def test_durations_are_read_from_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
