"""A run whose cluster goes."""

import pytest
from ray.exceptions import RayActorError

from fedra_ray.config.errors import RunFailedError
from fedra_ray.runtime import live


def test_a_cluster_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter([False, False, True])
    monkeypatch.setattr(live, "answers", lambda: next(replies))
    monkeypatch.setattr(live.time, "sleep", lambda _: None)
    live._await_cluster(RayActorError())
    assert next(replies, None) is None


def test_a_cluster_that_stays_away_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "answers", lambda: False)
    monkeypatch.setattr(live, "_ABSENCE_SECONDS", 0.0)
    with pytest.raises(RunFailedError, match="the Ray cluster is gone"):
        live._await_cluster(RayActorError())
