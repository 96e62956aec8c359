from typing import Any

import pytest

from fedra_ray.config.checks import check
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig

NAN = float("nan")


def with_setting(setting: str, value: Any) -> ExperimentConfig:
    config = ExperimentConfig()
    *path, name = setting.split(".")
    part: Any = config
    for step in path:
        part = getattr(part, step)
    assert hasattr(part, name)
    setattr(part, name, value)
    return config


def test_the_defaults_are_allowed() -> None:
    check(ExperimentConfig())


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("rounds", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("fleet.num_clients", 0, "at least 1"),
        ("fleet.clients_per_round", 0, "at least 1"),
        ("fleet.clients_per_round", 7, "at most fleet.num_clients, which is 6"),
        ("fleet.depths", [], "at least one depth"),
        ("fleet.depths", [4, 0], "every depth must be at least 1"),
        ("partition.alpha", 0.0, "greater than 0"),
        ("training.lr", 0.0, "greater than 0"),
        ("training.lr", NAN, "greater than 0"),
        ("training.head_lr", -0.1, "greater than 0"),
        ("training.momentum", -0.1, "at least 0"),
        ("training.momentum", NAN, "at least 0"),
        ("training.weight_decay", -1e-9, "at least 0"),
        ("training.batch_size", 0, "at least 1"),
        ("training.local_epochs", 0, "at least 1"),
        ("training.max_steps", 0, "at least 1"),
        ("training.clip_norm", 0.0, "greater than 0"),
        ("training.precision", "fp16", "one of fp32, bf16"),
        ("partition.min_size", 0, "at least 1"),
        ("partition.shards_per_client", 0, "at least 1"),
        ("partition.examples_per_client", 0, "at least 1"),
        ("partition.scheme", "random", "one of domain, shards, iid, lazy"),
        ("fleet.sampling", "poisson", "one of uniform, per_domain"),
        ("fleet.memory_mb", [], "at least one budget"),
        ("fleet.memory_mb", [500.0, 0.0], "each greater than 0"),
        ("fleet.probabilities", [1.0, 0, 0, 0, 0, 0], "fleet.dynamic=true"),
        ("training.step_cap", "smallest", "one of none, cohort, fleet"),
        ("dataset.on_error", "ignore", "one of fail, skip"),
        ("dataset.memory_mb", -1, "at least 0"),
        ("lora.rank", 0, "at least 1"),
        ("lora.alpha", 0.0, "greater than 0"),
        ("lora.dropout", 1.0, "at least 0 and below 1"),
        ("lora.dropout", -0.1, "at least 0 and below 1"),
        ("lora.dropout", NAN, "at least 0 and below 1"),
        ("aggregation.weighting", "layers", "one of uniform, examples"),
        ("evaluation.every", 0, "at least 1"),
        ("evaluation.batch_size", 0, "at least 1"),
        ("evaluation.split", "train", "one of validation, test"),
        ("checkpoint.every", 0, "at least 1"),
        ("checkpoint.keep", 0, "at least 1"),
        ("runtime.max_actors", 0, "at least 1"),
        ("runtime.clients_per_actor", 0, "at least 1"),
        ("runtime.max_attempts", 0, "at least 1"),
        ("runtime.num_cpus", 0.0, "greater than 0"),
    ],
)
def test_a_value_that_cannot_work_is_refused(setting: str, value: Any, allowed: str) -> None:
    with pytest.raises(SettingError) as refusal:
        check(with_setting(setting, value))
    assert str(refusal.value).startswith(f"{setting}={value}: ")
    assert allowed in str(refusal.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fleet.clients_per_round", 6),
        ("fleet.clients_per_round", None),
        ("training.max_steps", None),
        ("training.clip_norm", None),
        ("training.momentum", 0.0),
        ("training.weight_decay", 0.0),
        ("training.precision", "bf16"),
        ("lora.dropout", 0.0),
        ("aggregation.weighting", "examples"),
        ("evaluation.split", "validation"),
        ("runtime.max_actors", None),
        ("runtime.max_actors", 1),
    ],
)
def test_a_value_at_the_edge_is_allowed(setting: str, value: Any) -> None:
    check(with_setting(setting, value))


@pytest.mark.parametrize("share", [0, 1 / 2, 1 / 3, 0.3333, 0.25, 1 / 7, 0.1, 0.01, 1, 2, 8])
def test_a_gpu_share_is_nothing_a_unit_fraction_or_whole(share: float) -> None:
    check(with_setting("runtime.num_gpus", share))


@pytest.mark.parametrize("share", [0.3, 0.33, 2 / 3, 0.75, 0.99, 1.5, -1, -0.5, NAN, float("inf")])
def test_another_gpu_share_is_refused(share: float) -> None:
    with pytest.raises(SettingError, match=r"^runtime.num_gpus=.*: must be 0, a fraction 1/k"):
        check(with_setting("runtime.num_gpus", share))


@pytest.mark.parametrize("probabilities", [[0.5, 0.5], [0.5, 0.25, 0.5], [1.5, -0.5, 0.0], [NAN, 0.5, 0.5]])
def test_probabilities_that_are_none_of_the_depths_are_refused(probabilities: list[float]) -> None:
    config = with_setting("fleet.probabilities", probabilities)
    config.fleet.dynamic, config.fleet.depths = True, [4, 2, 1]
    with pytest.raises(SettingError, match="must be 3 numbers of at least 0, one per depth, that sum to 1"):
        check(config)
    config.fleet.probabilities = [0.5, 0.25, 0.25]
    check(config)
