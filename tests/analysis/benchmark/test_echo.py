"""The benchmark's echoing clients, on the Ray instance of the tests."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from analysis.benchmark import echo as benchmark
from fedra_ray.experiment import RoundReport

COHORT, ROUNDS = 6, 2


@pytest.mark.usefixtures("local_ray")
def test_echoing_clients_run_through_the_real_round_and_all_send_600_kb(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[RoundReport] = []
    real = benchmark.run

    def watched(*arguments: Any) -> Iterator[object]:
        for event in real(*arguments):
            reports.extend([event] if isinstance(event, RoundReport) else [])
            yield event

    monkeypatch.setattr(benchmark, "run", watched)
    start = time.perf_counter()
    measured = benchmark.echo(cohort=COHORT, rounds=ROUNDS, fleet=40, slots=1)
    assert 0 < ROUNDS * measured.seconds < time.perf_counter() - start
    assert measured.cpu_seconds > 0
    assert 50 < measured.memory_mb < 50_000  # at least a Python process with torch, and no other unit
    assert len(reports) > ROUNDS
    assert {report.bytes_up for report in reports} == {COHORT * 614_400}
