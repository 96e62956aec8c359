"""How a sweep deals out the slots, and whom it tells, over runs that end as a test says."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.config.schema import ExperimentConfig, RuntimeConfig
from fedra_ray.federation.reports import Missing, Outcome, RoundReport
from fedra_ray.runtime import connection, waiting
from fedra_ray.runtime import sweep as module
from fedra_ray.runtime.grid import Grid, GridRun
from fedra_ray.runtime.placement import Node
from fedra_ray.runtime.sweep import Sweep
from fedra_ray.runtime.waiting import NoRoomError, Stall


class FakeRun:
    """A run of a few rounds on no server; `lengths` has how many, by name, and `failing` those that fail at the end."""

    lengths: dict[str, int]
    failing: set[str]
    made: list["FakeRun"]

    def __init__(self, blueprint: Any, weights: Any, layers: Any, folder: Path, *rest: Any) -> None:
        self.events = self
        self.notices: list[str] = []
        self.name = Path(folder).name
        self.shares = [rest[-1]]
        self.ended = False
        self._events = self._all()
        FakeRun.made.append(self)

    def _all(self) -> Iterator[RoundReport | Outcome]:
        for number in range(1, FakeRun.lengths[self.name] + 1):
            yield report(number)
        if self.name in FakeRun.failing:
            raise RunFailedError("lost")
        yield Outcome(np.zeros(1, np.float32), [])

    def next(self) -> RoundReport | Outcome:
        return next(self._events)

    def share(self, slots: int) -> None:
        if slots != self.shares[-1]:
            self.shares.append(slots)

    def stall(self) -> Stall | None:
        return None if self.name == "busy" else Stall(99.0, "client actors")

    def save(self) -> None: ...

    def end(self) -> None:
        self.ended = True


def report(number: int) -> RoundReport:
    counts: Any = {
        "cohort": [],
        "layer_holders": [],
        "bytes_up": 0,
        "bytes_down": 0,
        "bytes_fetched": 0,
        "retries": 0,
        "busy": 0.0,
    }
    told: Any = {"missing": Missing(), "scores": [], "phases": {}, "simulated_s": None}
    return RoundReport(round=number, seconds=1.0, loss=0.5, **counts, **told)


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Sweep]:
    """begin({name: rounds}, room, failing=..., parallel=..., runtime=...): a sweep over fake runs.

    `room` has the slots that there is room for at every look; its last number stays.
    """

    def make(
        lengths: dict[str, int],
        room: list[int],
        failing: tuple[str, ...] = (),
        parallel: int | None = None,
        runtime: RuntimeConfig | None = None,
        private: bool = False,
    ) -> Sweep:
        FakeRun.lengths, FakeRun.failing, FakeRun.made = lengths, {*failing}, []
        rooms = iter(room)
        left = [room[-1]]
        monkeypatch.setattr(module, "_room", lambda _: next(rooms, left[0]))
        monkeypatch.setattr(module, "LiveRun", FakeRun)
        monkeypatch.setattr(module, "connected", lambda *_: nullcontext(private))
        monkeypatch.setattr(module, "prepare", lambda *_: None)
        monkeypatch.setattr(module, "check_run", checked)
        monkeypatch.setattr(module.results, "write_comparison", lambda *_: None)
        monkeypatch.setattr(module.results, "write", lambda *_: {"accuracy": {"dark": 0.5}, "mean_accuracy": 0.5})
        ray = SimpleNamespace(put=lambda value: value, wait=lambda events, **_: (events[:1], events[1:]))
        monkeypatch.setattr(module, "ray", ray)
        configs = [ExperimentConfig(run_dir=name, runtime=runtime or RuntimeConfig()) for name in lengths]
        return Sweep(Grid([GridRun({"run": c.run_dir}, c) for c in configs], str(tmp_path), parallel))

    def checked(config: ExperimentConfig) -> Any:
        if config.run_dir == "bad":
            raise ZeroDivisionError("whatever a user's module raises")
        blueprint = SimpleNamespace(config=config, num_layers=12)
        claim = SimpleNamespace(finished=None, lease_name=None, release=lambda: None)
        return SimpleNamespace(claim=claim, blueprint=blueprint, weights=[], layers=[3, 6], folder=config.run_dir)

    return make


def shares() -> dict[str, list[int]]:
    """The shares that every run has had."""
    assert all(run.ended for run in FakeRun.made)
    return {run.name: run.shares for run in FakeRun.made}


def test_the_last_runs_get_what_the_others_leave(begin: Callable[..., Sweep]) -> None:
    begin({"short": 1, "long": 9}, [8]).run()
    assert shares() == {"short": [4], "long": [4, 8]}


def test_shares_follow_the_cluster(begin: Callable[..., Sweep]) -> None:
    begin({"first": 9, "second": 20}, [2, 2, 8, 8, 4]).run()
    assert shares() == {"first": [1, 4, 2], "second": [1, 4, 2, 4]}


def test_more_runs_begin_when_nodes_come_and_none_is_stopped_when_they_go(begin: Callable[..., Sweep]) -> None:
    begin({"a": 20, "b": 20, "c": 20}, [1, 1, 3, 1]).run()
    assert shares() == {"a": [1], "b": [1], "c": [1]}
    assert len(FakeRun.made) == 3


def test_asked_for_slots_are_shared_whatever_room_there_is(begin: Callable[..., Sweep]) -> None:
    begin({"a": 3, "b": 1, "c": 1}, [99], parallel=2, runtime=RuntimeConfig(max_actors=6)).run()
    assert shares() == {"a": [3], "b": [3], "c": [3, 6]}


def test_every_label_of_nodes_has_an_actor_of_each_run(begin: Callable[..., Sweep]) -> None:
    begin({"a": 1, "b": 1}, [3], runtime=RuntimeConfig(tier_labels={4: "small", 12: "large"})).run()
    assert shares() == {"a": [3], "b": [3]}


def test_runs_that_fail_take_no_other_with_them(begin: Callable[..., Sweep]) -> None:
    ended = begin({"bad": 1, "lost": 2, "good": 2}, [4], failing=("lost",)).run()
    assert [result.error for result in ended] == ["whatever a user's module raises", "lost", None]


def test_a_sweep_in_which_all_runs_wait_for_actors_ends(
    begin: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "capacity", lambda: "Ray has 4 CPUs")
    sweep = begin({"a": 3, "b": 3}, [4], runtime=RuntimeConfig(wait_s=60.0))
    silent(monkeypatch)
    with pytest.raises(NoRoomError, match="waited 99 s"):
        sweep.run()


def test_a_sweep_in_which_one_run_works_goes_on(begin: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = begin({"a": 3, "busy": 3}, [4], runtime=RuntimeConfig(wait_s=60.0))
    silent(monkeypatch, looks=5)
    assert [result.error for result in sweep.run()] == [None, None]


def silent(monkeypatch: pytest.MonkeyPatch, looks: int = 1) -> None:
    """Let so many looks for events be in vain."""
    left = iter(range(looks))
    answer = module.ray.wait
    wait = lambda events, **_: ([], events) if next(left, None) is not None else answer(events)  # noqa: E731
    monkeypatch.setattr(module.ray, "wait", wait)


def test_writers_are_told_every_round_once_and_of_the_end(
    begin: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[Any]] = {}

    class Writer:
        def __init__(self, name: str) -> None:
            self.told = told.setdefault(name, [])

        def round(self, report: RoundReport) -> None:
            self.told.append(report.round)

        def close(self, summary: dict[str, Any] | None) -> None:
            self.told.append(summary and summary["mean_accuracy"])

    monkeypatch.setattr(module, "make_writers", lambda config: [Writer(config.run_dir)])
    sweep = begin({"good": 3, "lost": 2}, [2], failing=("lost",))
    monkeypatch.setattr(FakeRun, "_all", repeating(FakeRun._all))
    sweep.run()
    assert told == {"good": [1, 2, 3, 0.5], "lost": [1, 2, None]}


def repeating(events: Callable[[FakeRun], Iterator[Any]]) -> Callable[[FakeRun], Iterator[Any]]:
    """The same events from a server that is lost after round 2, as the next one repeats them from round 1."""

    def again(run: FakeRun) -> Iterator[Any]:
        yield from (report(1), report(2), None)
        yield from events(run)

    return again


def test_a_writer_that_cannot_be_had_fails_its_run_alone(
    begin: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(config: ExperimentConfig) -> list[Any]:
        if config.run_dir == "b":
            raise SettingError("watch.wandb", "mine", "refuses")
        return []

    monkeypatch.setattr(module, "make_writers", refuse)
    ended = begin({"a": 1, "b": 1}, [2]).run()
    assert [result.error for result in ended] == [None, "watch.wandb=mine: refuses"]


def test_a_private_instance_refuses_gpus_that_it_has_not_got_in_every_run(
    begin: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (module, connection):
        monkeypatch.setattr(place, "nodes", lambda: [Node(cpus=2, gpus=0)])
    sweep = begin({"first": 9, "second": 9}, [2], runtime=RuntimeConfig(num_gpus=0.5, max_actors=2), private=True)
    failed = [result for result in sweep.run() if result.error]
    assert FakeRun.made == []
    assert len(failed) == 2
    assert "runtime.num_gpus" in str(failed[0].error)
