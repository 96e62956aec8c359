"""The benchmark's echoing clients, on the Ray instance of the runtime's tests."""

import pytest

from analysis.benchmark.echo import VALUES, echo


@pytest.mark.usefixtures("local_ray")
def test_echoing_clients_run_through_the_real_round() -> None:
    found = echo(cohort=6, rounds=2, fleet=40, slots=1)
    assert found.seconds > 0
    assert found.memory_mb > 10
    assert VALUES * 4 == 614_400
