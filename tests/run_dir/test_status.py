"""Where runs are, told from folders that real runs have left, in this process."""

import itertools
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_process import InProcess
from test_faults import BAD, Spoiling

from fedra_ray.cli.main import main
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.experiment import run
from fedra_ray.federation.reports import Outcome
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.command import resume_command
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.run_dir.records import read_table
from fedra_ray.run_dir.status import Status, where
from fedra_ray.watch import results
from fedra_ray.watch.status import show


def run_local(workers: InProcess, rounds: int | None = None) -> list[object]:
    """Run as the driver does, up to some round; returns the reports, and the outcome of a run that ends."""
    blueprint = workers.blueprint
    folder = Folder(blueprint.config.run_dir)
    prepare(folder, blueprint.config)
    reports = list(itertools.islice(run(blueprint, workers, Journal(folder, blueprint.config)), rounds))
    if isinstance(reports[-1], Outcome):
        results.write(folder, blueprint, reports[-1])
    return reports


def status(config: ExperimentConfig) -> Status:
    return where(Folder(config.run_dir))


def rows(config: ExperimentConfig, name: str) -> list[dict[str, object]]:
    return read_table(Folder(config.run_dir), name).to_pylist()


@pytest.fixture(scope="module")
def finished(
    make_config: Callable[[Path], ExperimentConfig], tmp_path_factory: pytest.TempPathFactory
) -> ExperimentConfig:
    """A finished run of two rounds; tests do not change it."""
    config = make_config(tmp_path_factory.mktemp("finished") / "run")
    run_local(InProcess(config))
    return config


@pytest.fixture
def interrupted(config: ExperimentConfig) -> ExperimentConfig:
    """A run of seven rounds that was killed after the fifth; a checkpoint and an evaluation every other round."""
    config.rounds, config.checkpoint.every, config.evaluation.every = 7, 2, 2
    run_local(InProcess(config), rounds=5)
    return config


def test_a_finished_run_is_told_with_its_results(finished: ExperimentConfig) -> None:
    found = status(finished)
    summary = json.loads((Path(finished.run_dir) / "summary.json").read_text())
    assert (found.method, found.backbone, found.dataset) == ("FedRA", "tiny_vit", "shapes")
    assert (found.state, found.done, found.rounds, found.seconds_left) == ("finished", 2, 2, 0)
    assert (found.evaluated, found.accuracy, found.mean_accuracy) == (2, summary["accuracy"], summary["mean_accuracy"])
    assert found.loss == rows(finished, "rounds")[-1]["train_loss"]
    assert found.missing == {"dropped": {}, "late": {}, "rejected": {}}
    assert found.simulated_hours is None


def test_an_interrupted_run_is_where_its_last_checkpoint_is(interrupted: ExperimentConfig) -> None:
    found = status(interrupted)
    history = rows(interrupted, "rounds")
    assert [row["round"] for row in history] == [1, 2, 3, 4]
    assert (found.state, found.done, found.rounds, found.evaluated) == ("not finished", 4, 7, 4)
    assert found.seconds == median(row["seconds"] for row in history)
    assert found.seconds_left == 3 * found.seconds
    assert found.loss == history[-1]["train_loss"]
    scores = [row for row in rows(interrupted, "evaluations") if row["round"] == 4]
    assert found.accuracy == {row["domain"]: row["top1"] for row in scores}
    assert found.saved is not None
    assert timedelta(0) <= datetime.now(UTC) - found.saved < timedelta(hours=1)


def test_rounds_after_a_checkpoint_that_is_damaged_do_not_count(interrupted: ExperimentConfig) -> None:
    newest = max((Path(interrupted.run_dir) / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    found = status(interrupted)
    assert (found.done, found.evaluated) == (2, 2)
    assert found.loss == rows(interrupted, "rounds")[1]["train_loss"]


def test_a_run_without_a_save_has_nothing_to_tell_yet(config: ExperimentConfig) -> None:
    prepare(Folder(config.run_dir), config)
    found = status(config)
    assert (found.state, found.done, found.rounds) == ("not started", 0, 2)
    assert (found.seconds, found.seconds_left, found.loss, found.saved) == (None, None, None, None)
    assert (found.evaluated, found.accuracy, found.mean_accuracy) == (None, {}, None)
    run_local(InProcess(config), rounds=1)
    assert (status(config).state, status(config).done) == ("not finished", 0)


def test_clients_that_are_missing_are_counted_by_reason(config: ExperimentConfig) -> None:
    config.fleet.num_clients, config.rounds = 9, 4
    config.fleet.dropout, config.fleet.straggler_spread, config.fleet.round_deadline = 0.3, 1.0, 2.0
    run_local(Spoiling(config, {3: BAD["nan"][0]}))
    found, history = status(config), rows(config, "rounds")
    for reason, clients in found.missing.items():
        assert clients
        for client in range(9):
            assert clients.get(str(client), 0) == sum(client in row[reason] for row in history)


def test_a_round_without_a_valid_update_has_no_loss(
    config: ExperimentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    run_local(Spoiling(config, {client: BAD["nan"][0] for client in range(3)}))
    assert math.isnan(status(config).loss)
    assert main(["status", config.run_dir]) == 0
    assert "loss: none (no valid update) in round 2" in capsys.readouterr().out


def test_simulated_time_is_the_sum_of_rounds(config: ExperimentConfig) -> None:
    config.fleet.devices = ["phone"]
    run_local(InProcess(config))
    seconds = [row["simulated_s"] for row in rows(config, "rounds")]
    assert status(config).simulated_hours == pytest.approx(sum(seconds) / 3600)


def test_one_run_is_shown_in_lines(interrupted: ExperimentConfig, capsys: pytest.CaptureFixture[str]) -> None:
    found = status(interrupted)
    show([found], found.saved + timedelta(minutes=3, seconds=5))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{interrupted.run_dir}: FedRA with tiny_vit on shapes, not finished"
    assert lines[1] == "  rounds: 4 of 7 done; the checkpoint is 0:03:05 old"
    assert lines[2].startswith("  time: ")
    assert lines[2].endswith(f"about {timedelta(seconds=round(found.seconds_left))} to go")
    assert lines[3] == f"  loss: {found.loss:.3f} in round 4"
    assert lines[4].startswith(f"  accuracy after round 4: mean {found.mean_accuracy:.2%}; dark ")
    assert lines[5:] == [f"  to continue after round 4: {resume_command(interrupted.run_dir)}"]


def test_a_clock_that_is_behind_makes_no_negative_age(
    interrupted: ExperimentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    found = status(interrupted)
    show([found], found.saved - timedelta(minutes=3))
    assert "the checkpoint is 0:00:00 old" in capsys.readouterr().out


def test_several_runs_are_a_table_and_the_unreadable_ones_one_line(
    finished: ExperimentConfig,
    interrupted: ExperimentConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    none = [str(tmp_path / name) for name in ("first", "second")]
    assert main(["status", finished.run_dir, none[0], interrupted.run_dir, none[1]]) == 2
    captured = capsys.readouterr()
    first, second = (line for line in captured.out.splitlines() if "tiny_vit" in line)
    assert all(part in first for part in (finished.run_dir, " finished ", "2/2"))
    assert all(part in second for part in (interrupted.run_dir, "not finished", "4/7"))
    (line,) = captured.err.splitlines()
    assert all(f"RUN_DIR={name}: holds no run" in line for name in none)


def test_a_run_dir_may_be_a_uri_or_hold_an_equals_sign(
    config: ExperimentConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(Folder(tmp_path / "lr=1"), config)
    for run_dir in (f"{tmp_path}/lr=1", f"file://{tmp_path}/lr=1"):
        assert main(["status", run_dir]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"  to start it: {resume_command(run_dir)}"


def test_without_a_folder_the_command_says_what_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 2
    assert capsys.readouterr().err == "error: RUN_DIR=: name the folder of a run, or several\n"


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def in_parquet(**columns: list[object]) -> Callable[[bytes], bytes]:
    def write(_: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        return sink.getvalue().to_pybytes()

    return write


DAMAGE = {
    "half a table": ("rounds.parquet", truncated),
    "an empty table": ("evaluations.parquet", lambda _: b""),
    "a foreign table": ("rounds.parquet", in_parquet(name=["x"])),
    "a table of other types": ("evaluations.parquet", in_parquet(round=[1], domain=["dark"], top1=["much"])),
    "a foreign configuration": ("config.yaml", lambda _: b"model: {name: bert}\n"),
    "an empty configuration": ("config.yaml", lambda _: b""),
    "no YAML": ("config.yaml", lambda _: b"\xff\x00{"),
    "half a summary": ("summary.json", truncated),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_and_foreign_files_end_in_one_line(
    case: str, finished: ExperimentConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, damage = DAMAGE[case]
    for file in Path(finished.run_dir).iterdir():
        if file.is_file():
            content = file.read_bytes()
            (tmp_path / file.name).write_bytes(damage(content) if file.name == name else content)
    assert main(["status", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: RUN_DIR={tmp_path}: its {name} is damaged, or not that of a run (")


def test_a_folder_without_a_run_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"holds no run: there is no config\.yaml") as refusal:
        where(Folder(tmp_path))
    assert refusal.value.args[:2] == ("RUN_DIR", str(tmp_path))
    with pytest.raises(SettingError, match=r"RUN_DIR=.*file: is a file"):
        where(Folder(tmp_path / "file"))


def test_names_in_a_run_do_not_steer_the_terminal(
    config: ExperimentConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.method.name = "\x1b[31mred[/bold]\n"
    config.method.label = None
    for name in ("a", "b"):
        prepare(Folder(tmp_path / name), config)
    assert main(["status", str(tmp_path / "a")]) == 0
    assert main(["status", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[31mred[/bold]" in out
