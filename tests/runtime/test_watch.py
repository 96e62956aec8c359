from pathlib import Path

import pytest

from fedra_ray.config.schema import ExperimentConfig, WatchConfig
from fedra_ray.runtime.driver import run_experiment

pytestmark = pytest.mark.usefixtures("local_ray")


def test_a_run_tells_tensorboard_of_every_round(config: ExperimentConfig) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config.watch = WatchConfig(tensorboard=True)
    summary = run_experiment(config)
    events = EventAccumulator(str(Path(config.run_dir) / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert events.Scalars("mean_accuracy")[-1].value == pytest.approx(summary["mean_accuracy"])
