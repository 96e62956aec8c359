"""When people are told that nothing goes on but waiting, and when that ends."""

import pytest

from fedra_ray.runtime import waiting
from fedra_ray.runtime.placement import SlotSpec
from fedra_ray.runtime.waiting import NoRoomError, Patience, Stall, in_words


class Clock:
    """Stands in for the module `time`; `now` is in seconds."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(waiting, "time", Clock())
    monkeypatch.setattr(waiting, "capacity", lambda: "Ray has 4 CPUs")
    return waiting.time  # type: ignore[return-value]


def test_waiting_is_told_after_half_a_minute_and_then_every_minute(clock: Clock) -> None:
    told: list[tuple[float, str]] = []
    patience = Patience(None, lambda text: told.append((clock.now, text)))
    while clock.now < 200:
        patience.look([Stall(clock.now, "client actors, 1 with 64 CPUs and 0 GPUs")])
        clock.now += 2
    assert [now for now, _ in told] == [30, 90, 150]
    assert told[0][1] == "waited 30 s for the start of client actors, 1 with 64 CPUs and 0 GPUs; Ray has 4 CPUs"


def test_waiting_ends_with_the_numbers_once_it_has_taken_too_long(clock: Clock) -> None:
    patience = Patience(60.0, lambda _: None)
    patience.look([Stall(59.0, "client actors")])
    with pytest.raises(NoRoomError, match=r"^waited 61 s .* Ray has 4 CPUs; runtime.wait_s=60 allows no more$"):
        patience.look([Stall(61.0, "client actors")])


@pytest.mark.parametrize("stalls", [[None], [Stall(99.0, "client actors"), None], []])
def test_as_long_as_one_run_goes_on_nobody_waits_in_vain(stalls: list[Stall | None], clock: Clock) -> None:
    Patience(1.0, pytest.fail).look(stalls)


def test_of_several_runs_the_one_that_began_to_wait_last_counts(clock: Clock) -> None:
    patience = Patience(60.0, pytest.fail)
    patience.look([Stall(99.0, "client actors"), Stall(5.0, "client actors")])
    with pytest.raises(NoRoomError, match=r"^waited 60 s"):
        patience.look([Stall(154.0, "client actors"), Stall(60.0, "client actors")])


def test_actors_are_counted_by_what_they_reserve() -> None:
    specs = [SlotSpec(12, 1.0, 0.5, "large"), SlotSpec(4, 2.0, 0.0), SlotSpec(3, 2.0, 0.0)]
    large = "1 with 1 CPUs and 0.5 GPUs on nodes labelled tier=large"
    assert in_words(specs) == f"client actors, {large}, 2 with 2 CPUs and 0 GPUs"
