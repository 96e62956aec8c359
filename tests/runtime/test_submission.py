import itertools
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.run_dir.folder import Folder
from fedra_ray.runtime import submission
from fedra_ray.runtime.submission import JobOptions, runtime_env, submit_job


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


class FakeJobs:
    """A cluster's job API, whose jobs end as `status` says."""

    status = "SUCCEEDED"
    stopped: ClassVar[list[str]] = []

    def __init__(self, address: str) -> None: ...

    def submit_job(self, **_: Any) -> str:
        return "mine"

    async def tail_job_logs(self, name: str) -> Any:
        yield "round 1\n"

    def get_job_status(self, name: str) -> Any:
        return type("Status", (str,), {"is_terminal": lambda _: True})(self.status)

    def get_job_info(self, name: str) -> Any:
        return SimpleNamespace(driver_exit_code=1, message="Job has not started yet.")

    def stop_job(self, name: str) -> bool:
        self.stopped.append(name)
        return True


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of the folder of a sweep with a query, in which one of two runs has finished."""
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", FakeJobs)
    folder = Folder(f"file://{tmp_path}/a%20sweep?x=y")
    folder.write("results.parquet", b"table")
    folder.write("report.html", b"page")
    folder.below("lr=0.1").write("summary.json", b"{}")
    return f"file://{tmp_path}/a%20sweep?x=y"


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_what_a_sweep_has_left_is_copied_even_if_a_run_has_failed(
    status: str, sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeJobs, "status", status)
    options = JobOptions("http://x", True, None, ".", None, [], str(tmp_path / "copies"), None)
    run_dirs = [f"file://{tmp_path}/a%20sweep/lr=0.{digit}?x=y" for digit in (1, 2)]
    failure = pytest.raises(RunFailedError, match="the job mine has failed, exit code 1")
    with failure if status == "FAILED" else nullcontext():
        submit_job(["sweep"], run_dirs, options, sweep)
    copied = {str(path.relative_to(tmp_path / "copies")) for path in (tmp_path / "copies").rglob("*.*")}
    files = {"mine/results.parquet", "mine/report.html", "mine/lr=0.1/summary.json"}
    assert copied - {"mine/lr=0.1"} == files
    absent = f"file://{tmp_path}/a%20sweep/lr=0.2/summary.json?x=y"
    assert f"not copied: {absent} is not there, or cannot be read from here" in capsys.readouterr().out


def test_a_job_whose_nodes_never_come_is_told_every_minute_and_then_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", FakeJobs)
    monkeypatch.setattr(FakeJobs, "status", "PENDING")
    ticks = itertools.count(step=10)
    monkeypatch.setattr(submission, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda _: None))
    options = JobOptions("http://x", True, None, ".", None, [], str(tmp_path), 150.0)
    with pytest.raises(RunFailedError, match=r"mine was pending for 150 s, .*runtime.wait_s=150 .*not started yet"):
        submit_job(["run"], ["/shared/run"], options)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "pending" in line] == [
        f"the job mine has been pending for {seconds} s: no node has room for it" for seconds in (60, 120)
    ]
    assert FakeJobs.stopped == ["mine"]
