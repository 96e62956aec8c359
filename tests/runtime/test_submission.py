from typing import Any

import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.runtime.submission import runtime_env


def test_a_job_has_the_variables_that_are_given_or_set_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "1=2")
    found: dict[str, Any] = runtime_env("folder", ["HERE", "GIVEN=a=b", "EMPTY="])
    assert found["working_dir"] == "folder"
    assert found["env_vars"].items() >= {"HERE": "1=2", "GIVEN": "a=b", "EMPTY": ""}.items()
    assert {".git", ".venv", "runs"} <= set(found["excludes"])


def test_a_variable_that_is_not_set_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HERE", raising=False)
    with pytest.raises(SettingError, match="--env=HERE: is not set here; give NAME=VALUE"):
        runtime_env(".", ["HERE"])
