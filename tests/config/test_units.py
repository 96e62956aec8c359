import pytest

from fedra_ray.config.units import clock, duration, mean_over_domains


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (185.4, "0:03:05"), (90000, "1 day, 1:00:00")])
def test_durations_are_read_from_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(3.21, "3.2 s"), (59.96, "1 min 00 s"), (245, "4 min 05 s"), (7385, "2 h 03 min"), (3_600_000, "1,000 h 00 min")],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_every_domain_counts_equally() -> None:
    assert mean_over_domains({"one": 0.25, "other": 0.75}.values()) == 0.5
