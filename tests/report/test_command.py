"""The command on a page leads to the configuration it was made from."""

import dataclasses
import shlex
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.cli.compose import compose
from fedra_ray.config.schema import DeviceConfig, ExperimentConfig
from fedra_ray.report.command import command, overrides
from fedra_ray.run_dir.claim import FREE, flat

CASES: dict[str, tuple[list[str], list[str] | None]] = {
    "default": ([], []),
    "method": (["method=depthfl", "rounds=3"], ["method=depthfl", "rounds=3"]),
    "groups": (["partition=lazy", "fleet=extreme4"], ["fleet=extreme4", "partition=lazy"]),
    "never matters": (["runtime.max_actors=3", "checkpoint.every=1"], []),
    "an option less": (["method=inclusivefl", "~method.options.momentum"], None),
    "authors": (["experiment=paper/domainnet_mixer_feature_label_skew", "compat=authors"], None),
    "columns": (["dataset=parquet", "dataset.options.columns.domain=style", "training.clip_norm=null"], None),
}


def settings(config: ExperimentConfig) -> dict[str, Any]:
    return {name: value for name, value in flat(dataclasses.asdict(config)) if not name.startswith(FREE)}


@pytest.mark.parametrize("case", CASES)
def test_the_overrides_lead_to_the_same_configuration(case: str) -> None:
    given_overrides, expected = CASES[case]
    wanted = settings(compose("config", ExperimentConfig, given_overrides))
    found = overrides(wanted)
    assert settings(compose("config", ExperimentConfig, found)) == wanted
    if expected is not None:
        assert found == expected


def test_device_profiles_are_part_of_it() -> None:
    config = compose("config", ExperimentConfig, ["fleet.devices=[mine]"])
    config.fleet.profiles = {"mine": DeviceConfig(50, 30.5, 5, 3000, "it's here: {a, b}")}
    assert settings(compose("config", ExperimentConfig, overrides(settings(config)))) == settings(config)


def test_the_repeated_run_has_a_folder_of_its_own() -> None:
    config = compose("config", ExperimentConfig, ["run_dir=runs/mine", "seed=2"])
    assert command(dict(flat(dataclasses.asdict(config)))) == "fedra-ray seed=2 run_dir=runs/mine-again"


@given(st.text(st.characters(exclude_characters="$\r\n\0", exclude_categories=["Cs", "Cc"])))
def test_any_text_survives_the_shell_and_the_parser(text: str) -> None:
    wanted = dict(flat(dataclasses.asdict(ExperimentConfig()))) | {"dataset.root": text}
    words = shlex.split(command(wanted))
    (override,) = (word for word in words if word.startswith("dataset.root="))
    assert OverridesParser.create().parse_override(override).value() == text
