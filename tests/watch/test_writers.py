"""Rounds for TensorBoard and Weights & Biases; the real packages where they are installed."""

import importlib.util
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedra_ray.cli.main import main
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, WatchConfig
from fedra_ray.federation.messages import Score
from fedra_ray.federation.reports import Missing, RoundReport
from fedra_ray.watch.writers import make_writers, scalars

PHASES = {"training": 2.0, "evaluation": 0.5}


def report(
    number: int, loss: float = 0.5, scores: list[Score] | None = None, hours: float | None = None
) -> RoundReport:
    return RoundReport(
        round=number,
        seconds=2.0,
        cohort=[0, 4, 5, 7, 9],
        layer_holders=[2, 0, 1, 0],
        loss=loss,
        bytes_up=80,
        bytes_down=160,
        bytes_fetched=240,
        missing=Missing([4, 7], [5], {9: "not finite"}),
        simulated_s=hours,
        retries=3,
        busy=1.0,
        scores=scores or [],
        phases=PHASES,
    )


ALWAYS = {
    "seconds/training": 2.0,
    "seconds/evaluation": 0.5,
    "bytes/up": 80,
    "bytes/down": 160,
    "bytes/fetched": 240,
    "layer_coverage": 0.5,
    "clients/retries": 3,
    "clients/dropped": 2,
    "clients/late": 1,
    "clients/rejected": 1,
}


def test_a_round_in_numbers() -> None:
    scores = [Score("dark", "test", 8, 2, 8, 1.0), Score("light", "test", 4, 3, 4, 1.0)]
    assert scalars(report(1)) == {"loss": 0.5, **ALWAYS}
    accuracy = {"accuracy/dark": 0.25, "accuracy/light": 0.75, "mean_accuracy": 0.5}
    assert scalars(report(1, scores=scores, hours=7.0)) == {
        "loss": 0.5,
        **ALWAYS,
        **accuracy,
        "simulated_seconds": 7.0,
    }
    assert scalars(report(1, loss=math.nan)) == ALWAYS


def test_nobody_is_told_unless_asked_for(config: ExperimentConfig) -> None:
    assert make_writers(config) == []


@pytest.mark.parametrize(
    ("package", "override"), [("tensorboard", "watch.tensorboard=true"), ("wandb", "watch.wandb=mine")]
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    package: str, override: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    assert main([override, f"run_dir={tmp_path / 'run'}", "rounds=1"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.lower().startswith(f"error: {override}: ")
    assert line.endswith(f"pip install 'fedra-ray[{package}]'")
    assert not (tmp_path / "run").exists()


def test_tensorboard_needs_a_local_folder(config: ExperimentConfig) -> None:
    config.watch, config.run_dir = WatchConfig(tensorboard=True), "s3://bucket/runs/first"
    with pytest.raises(SettingError, match="needs a local folder, and run_dir=s3://bucket/runs/first is a URI"):
        make_writers(config)


def watched(config: ExperimentConfig, rounds: range, summary: dict[str, float] | None = None) -> None:
    """What a driver does with the writers."""
    writers = make_writers(config)
    for number in rounds:
        for writer in writers:
            writer.round(report(number, loss=number + rounds.start / 100))
    for writer in writers:
        writer.close(summary)


def test_a_run_that_is_taken_up_again_has_every_step_once_in_tensorboard(config: ExperimentConfig) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config.watch = WatchConfig(tensorboard=True)
    watched(config, range(1, 1))
    assert not Path(config.run_dir).exists()
    watched(config, range(1, 6))
    watched(config, range(4, 8), {"mean_accuracy": 0.5})
    events = EventAccumulator(str(Path(config.run_dir) / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", *ALWAYS}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (step, pytest.approx(step + (0.01 if step < 4 else 0.04))) for step in range(1, 8)
    ]


def test_weights_and_biases_keeps_one_run_for_a_folder(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    config.watch = WatchConfig(wandb="mine")
    watched(config, range(1, 3))
    config.seed = 1
    watched(config, range(1, 3), {"mean_accuracy": 0.5})
    first, second = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert first.name == second.name
    config.run_dir += "-other"
    watched(config, range(1, 3))
    assert len({path.name for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb")}) == 2


def test_several_runs_of_weights_and_biases_go_on_at_once(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, object]] = []
    fake = SimpleNamespace(Error=RuntimeError, init=lambda **settings: begun.append(settings))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config.watch = WatchConfig(wandb="mine")
    for name in ("seed=0", "lr=%5B1%5D"):
        config.run_dir = f"file:///sweeps/{name}?a=b/c"
        make_writers(config)
    assert [settings["name"] for settings in begun] == ["seed=0", "lr=[1]"]
    assert {settings["reinit"] for settings in begun} == {"create_new"}
    assert len({settings["id"] for settings in begun}) == 2
