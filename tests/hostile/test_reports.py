"""How the command reports what it could not foresee."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedra_ray.cli.compose import compose_named
from fedra_ray.cli.main import main
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig


def test_what_the_system_refuses_ends_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rounds=1", "run_dir=/proc/run"]) == 1
    message = capfd.readouterr().err
    assert re.match(r"error: /proc/run/lease-\w+\.json cannot be written: ", message)
    assert len(message.splitlines()) == 1


@given(override=st.text(max_size=30) | st.from_regex(r"[+~]{0,2}(rounds|method|dataset\.root)=.{0,12}", fullmatch=True))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_override_is_understood_or_refused(override: str) -> None:
    try:
        config = compose_named("config", ExperimentConfig, [override])
    except SettingError:
        return
    assert isinstance(config, ExperimentConfig)
