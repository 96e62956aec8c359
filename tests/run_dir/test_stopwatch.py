import pytest

from fedra_ray.run_dir.stopwatch import Stopwatch


def test_phases_add_up_and_are_kept_in_order() -> None:
    watch = Stopwatch()
    for phase in ("training", "evaluation", "training"):
        with watch(phase):
            sum(range(1000))
    assert list(watch.seconds) == ["training", "evaluation"]
    assert all(seconds > 0 for seconds in watch.seconds.values())
    assert watch.total == sum(watch.seconds.values())


def test_a_phase_that_fails_is_timed_too() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="lost"), watch("training"):
        raise ValueError("lost")
    assert watch.seconds["training"] > 0
