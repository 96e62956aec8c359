"""The public names, as a notebook uses them."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import fedra_ray
from fedra_ray import ExperimentConfig, Method, SettingError, Wrapper, compose, run_experiment, run_local
from fedra_ray.federation.reports import RoundReport
from fedra_ray.run_dir.records import SCHEMAS


def test_every_public_name_is_there_and_importing_them_loads_nothing_heavy() -> None:
    assert all(getattr(fedra_ray, name) is not None for name in fedra_ray.__all__)
    assert dir(fedra_ray) == sorted(fedra_ray.__all__)
    assert issubclass(Wrapper, Method)
    with pytest.raises(AttributeError, match="has no attribute 'simulate'"):
        _ = fedra_ray.simulate
    code = "import sys, fedra_ray; from fedra_ray import Method, compose; print({'torch', 'ray'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_compose_is_the_command_line_s() -> None:
    config = compose("method=depthfl", "rounds=7", "server_optimizer=fedadam")
    assert isinstance(config, ExperimentConfig)
    assert (config.method.label, config.rounds, config.server_optimizer.label) == ("DepthFL", 7, "FedAdam")
    with pytest.raises(SettingError, match="metod"):
        compose("metod=fedra")


def test_a_result_has_tables_scores_and_the_adapter(config: ExperimentConfig) -> None:
    rounds: list[RoundReport] = []
    result = run_local(config, on_round=rounds.append)
    assert [report.round for report in rounds] == [1, 2]
    assert result.rounds["train_loss"].to_pylist() == [report.loss for report in rounds]
    assert result.rounds.schema.equals(SCHEMAS["rounds"])
    assert set(result.accuracy) == {"dark", "light", "noisy"}
    assert result.mean_accuracy == pytest.approx(np.mean(list(result.accuracy.values())))
    last = result.evaluations.to_pandas().query("round == 2").set_index("domain")["top1"]
    assert last.to_dict() == result.accuracy
    assert len(result.clients) == 6
    assert result.adapter["base_model.model.head.weight"].shape == (3, 16)
    again = run_local(config, on_round=rounds.append)  # a finished run is not run again
    assert again.summary == result.summary
    assert len(rounds) == 2


def test_ray_gives_the_same_bits_as_this_process(config: ExperimentConfig) -> None:
    here = run_local(config)
    there = run_experiment(replace(config, run_dir=config.run_dir + "-on-ray"))
    assert there.accuracy == here.accuracy
    assert {name: value.tobytes() for name, value in there.adapter.items()} == {
        name: value.tobytes() for name, value in here.adapter.items()
    }
