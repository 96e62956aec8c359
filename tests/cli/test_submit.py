"""What a submitted job runs, and what is refused before it is sent."""

from pathlib import Path

import pytest

from fedra_ray.cli.compose import compose
from fedra_ray.cli.main import main
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder
from fedra_ray.runtime.submission import JobOptions

Submitted = list[tuple[list[str], list[str], JobOptions, str | None]]


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> Submitted:
    """What would have been sent."""
    sent: Submitted = []
    monkeypatch.setattr("fedra_ray.runtime.submission.submit_job", lambda *job: sent.append(job))
    return sent


def test_a_job_is_a_run_unless_it_names_its_verb(submitted: Submitted) -> None:
    assert main(["submit", "--wait", "--env", "A=1", "--", "run_dir=/shared/run", "rounds=2"]) == 0
    assert main(["submit", "--cpus=2", "sweep", "seed=0,1", "run_dir=/shared/grid"]) == 0
    (run, run_dirs, options, above), (sweep, sweep_dirs, others, folder) = submitted
    assert run == ["run", "run_dir=/shared/run", "rounds=2"]
    assert run_dirs == ["/shared/run"]
    assert options == JobOptions(None, True, None, ".", None, ["A=1"], "runs", 1800.0)
    assert sweep == ["sweep", "seed=0,1", "run_dir=/shared/grid"]
    assert (above, folder) == (None, "/shared/grid")
    assert sweep_dirs == ["/shared/grid/seed=0", "/shared/grid/seed=1"]
    assert (others.cpus, others.wait, others.env) == (2.0, False, [])


def test_a_job_may_repeat_a_run(submitted: Submitted, tmp_path: Path) -> None:
    prepare(Folder(tmp_path), ExperimentConfig())
    words = ["--config", f"{tmp_path}/config.yaml", "run_dir=/shared/again"]
    assert main(["submit", "--", *words]) == 0
    ((command, run_dirs, *_),) = submitted
    assert (command, run_dirs) == (["run", *words], ["/shared/again"])


def test_the_folder_of_a_job_is_the_one_that_it_is_here(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "it's me")
    given = ["run_dir='/shared/${oc.env:WHO}'", "seed=0,1"]
    assert main(["submit", "--", "sweep", *given]) == 0
    assert main(["submit", "--", *given[:1]]) == 0
    (sweep, sweep_dirs, _, folder), (run, run_dirs, *_) = submitted
    assert folder == "/shared/it's me"
    assert sweep_dirs == [f"{folder}/seed=0", f"{folder}/seed=1"]
    assert run_dirs == [folder]
    monkeypatch.delenv("WHO")
    assert sweep[:-1] == ["sweep", *given]
    assert compose(sweep[-1]).run_dir == compose(run[-1]).run_dir == folder


REFUSED: dict[str, tuple[list[str], str]] = {
    "another verb": (["plan", "rounds=2"], "verb=plan: must be run or sweep"),
    "a setting": (["rounds=0"], "rounds=0: must be at least 1"),
    "a setting of a sweep": (["sweep", "rounds=1,0"], "rounds=0: must be at least 1"),
    "several values": (["seed=0,1"], "seed"),
    "Hydra's grid": (["--multirun", "seed=0,1"], "--multirun=seed=0,1: is for this machine alone"),
    "a file that is not there": (["--config", "nowhere.yaml"], "--config=nowhere.yaml: no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_job_would_refuse_is_not_sent(
    case: str, submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = REFUSED[case]
    assert main(["submit", "--", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {expected}")
    assert submitted == []


@pytest.mark.parametrize(
    ("options", "job", "expected"),
    [
        ([], ["run_dir=runs/mine"], "run_dir=runs/mine: must be an absolute path that all nodes share, or a URI"),
        ([], ["sweep", "seed=0,1"], "run_dir=sweeps/"),
        (["--env", "NOT_SET_ANYWHERE", "--address", "http://127.0.0.1:1"], ["run_dir=/x"], "--"),
    ],
)
def test_a_job_that_cannot_work_is_refused_in_one_line(
    options: list[str], job: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *options, "--", *job]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {expected}")
