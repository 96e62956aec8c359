"""Experiments that start from the config.yaml of a run, and what is no such file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.cli.compose import compose, compose_as, compose_experiment
from fedra_ray.config.checks import check
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import DeviceConfig, ExperimentConfig
from fedra_ray.cost.plan import PlannedExperiment
from fedra_ray.federation.fleet import Fleet
from fedra_ray.methods.alllarge import AllLarge
from fedra_ray.methods.create import create_method
from fedra_ray.run_dir.claim import CONFIG, prepare
from fedra_ray.run_dir.folder import Folder

CASES = {
    "default": [],
    "a method": ["method=depthfl", "rounds=3"],
    "groups": ["partition=lazy", "fleet=extreme4"],
    "an option less": ["method=inclusivefl", "~method.options.momentum"],
    "authors": ["experiment=paper/domainnet_mixer_feature_label_skew", "compat=authors"],
    "null and columns": ["dataset=parquet", "dataset.options.columns.domain=style", "training.clip_norm=null"],
    "what changes no result": ["runtime.max_actors=3", "watch.wandb=mine", "checkpoint.every=1"],
}


def repeated(config: ExperimentConfig, folder: Path, *overrides: str) -> ExperimentConfig:
    """The configuration that starts from the file of a run, in the folder of that run."""
    prepare(Folder(folder), config)
    return compose_experiment([*overrides, "run_dir=x"], str(folder / CONFIG))


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_of_a_run_is_the_same_again(case: str, tmp_path: Path) -> None:
    config = compose_experiment(CASES[case])
    assert repeated(config, tmp_path) == dataclasses.replace(config, run_dir="x")


def test_mappings_are_part_of_it(tmp_path: Path) -> None:
    config = compose_experiment(["fleet.devices=[mine]"])
    config.runtime.tier_labels = {4: "small", 12: "it's here: {a, b}"}
    config.fleet.profiles = {"mine": DeviceConfig(50, 30.5, 5, 3000)}
    assert repeated(config, tmp_path) == dataclasses.replace(config, run_dir="x")


def test_tier_labels_are_given_as_the_pages_print_them() -> None:
    assert compose_experiment([]).runtime.tier_labels == {}
    config = compose_experiment(["runtime.tier_labels={4: small, 12: large}"])
    assert config.runtime.tier_labels == {4: "small", 12: "large"}
    assert compose_experiment(["lora.ranks={3: 4, 6: 8}"]).lora.ranks == {3: 4, 6: 8}


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.from_regex(r"[\\$\{\}a]{0,8}", fullmatch=True))
def test_any_text_is_the_same_again(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    config = ExperimentConfig()
    config.method.name, config.method.options = text, {"texts": [text], f"{text}x": text}
    assert repeated(config, tmp_path_factory.getbasetemp()).method == config.method


def test_overrides_go_before_the_file(tmp_path: Path) -> None:
    config = compose_experiment(["rounds=3", "fleet.depths=[6,6]"])
    changed = repeated(config, tmp_path, "rounds=7", "+method.options.speed=9", "fleet.depths=[4]")
    assert (changed.rounds, changed.fleet.depths, changed.method.options) == (7, [4], {"draw": "uniform", "speed": 9})


def test_a_plan_starts_from_it_too(tmp_path: Path) -> None:
    prepare(Folder(tmp_path), compose_experiment(["rounds=3"]))
    config = compose_as(PlannedExperiment, ["plan.tflops=2"], str(tmp_path / CONFIG))
    assert (config.rounds, config.plan.tflops) == (3, 2.0)


@pytest.mark.parametrize(
    ("override", "setting"),
    [
        ("rounds=many", "rounds"),
        ("training.learning_rate=1", "training.learning_rate"),
        ("rounds", "rounds"),
        ("fleet.depths=[4", "fleet.depths"),
        ("method=depthfl", "method"),
        ("+experiment=paper/dynamic", "experiment"),
        ("=", ""),
        ("a" * 1000 + "=1", "a" * 1000),
    ],
)
def test_an_override_that_does_not_fit_the_file_is_named(override: str, setting: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        repeated(ExperimentConfig(), tmp_path, override)
    assert refusal.value.args[0] == setting


def changed(**settings: Any) -> Callable[[dict[str, Any]], str]:
    return lambda config: yaml.safe_dump(config | settings)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "empty": (lambda config: "", "is not the configuration of a run"),
    "a list": (lambda config: "[1, 2]", "is not the configuration of a run"),
    "half of it": (lambda config: yaml.safe_dump(config, sort_keys=False)[:900], "lacks "),
    "no YAML": (lambda config: "rounds: {", "cannot be read: "),
    "an unknown setting": (changed(speed=9), "speed"),
    "an unknown setting of a section": (changed(lora={"rank": 8, "speed": 9}), "lacks lora.alpha"),
    "a wrong type": (changed(rounds="many"), "'many'"),
    "a section null": (changed(method=None), "lacks method.name"),
    "a value that is missing": (changed(run_dir="???"), "??? stands for a value that is missing"),
    "another kind": (changed(defaults=[{"method": "depthfl"}]), "defaults"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    damage, expected = DAMAGE[case]
    file = tmp_path / CONFIG
    file.write_text(damage(dataclasses.asdict(ExperimentConfig())))
    with pytest.raises(SettingError) as refusal:
        compose_experiment([], str(file))
    assert refusal.value.args[:2] == ("--config", str(file))
    assert expected in str(refusal.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("nowhere/config.yaml", "no such file; name the config.yaml of a run"),
        ("/dev/zero", "no such file"),
        (".", "no such file"),
        ("gopher://x/config.yaml", "no file system that pyarrow knows"),
    ],
)
def test_a_file_that_is_not_there_is_refused(config: str, expected: str) -> None:
    with pytest.raises(SettingError, match=expected) as refusal:
        compose_experiment([], config)
    assert refusal.value.args[:2] == ("--config", config)


@pytest.mark.parametrize(("clients", "cohort"), [(50, 50), (100, 100), (10_000, 100)])
def test_a_lazy_partition_samples_a_hundred_clients_or_all_of_a_smaller_fleet(clients: int, cohort: int) -> None:
    config = compose("partition=lazy", f"fleet.num_clients={clients}")
    assert config.fleet.clients_per_round == cohort
    check(config)


def test_an_option_of_a_replaced_method_is_left_out_as_its_refusal_says() -> None:
    target = "method.target=fedra_ray.methods.alllarge.AllLarge"
    fleet = Fleet(compose(), ("dark",))
    with pytest.raises(SettingError, match=r"leave it out by ~method\.options\.draw"):
        create_method(compose(target), 12, fleet)
    assert isinstance(create_method(compose(target, "~method.options.draw"), 12, fleet), AllLarge)
