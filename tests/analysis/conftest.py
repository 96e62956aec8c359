"""Finished runs of the miniature world for the analyses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import shipped_method

from analysis.runs.reading import Run, read_run
from fedra_ray import run_local
from fedra_ray.config.schema import DeviceConfig, ExperimentConfig


@pytest.fixture(scope="session")
def make_run(
    make_config: Callable[[Path], ExperimentConfig], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """make_run(change=None): the directory of a finished run in this process, that keeps every round's adapter.

    `change(config)` may alter the miniature configuration: three clients of depths 4, 2 and 1, two rounds of two steps.
    """

    def make(change: Callable[[ExperimentConfig], None] = lambda config: None) -> str:
        config = make_config(tmp_path_factory.mktemp("runs") / "run")
        config.evaluation.every = config.checkpoint.every = 1
        config.checkpoint.keep = 100
        change(config)
        run_local(config)
        return config.run_dir

    return make


@pytest.fixture(scope="session")
def fedra_run(make_run: Callable[..., str]) -> str:
    """A run of FedRA. Read it; change nothing in it."""
    return make_run()


@pytest.fixture(scope="session")
def several_runs(make_run: Callable[..., str]) -> dict[str, Run]:
    """Runs of FedRA with two seeds, who deal depths and devices to other clients, on a fleet of one depth, and others.

    Read them; change nothing in them.
    """

    def change(config: ExperimentConfig, depths: list[int], seed: int = 0, method: str = "fedra") -> None:
        config.rounds, config.seed, config.fleet.depths = 3, seed, depths
        config.method = shipped_method(method)
        slow, fast = DeviceConfig(1.0, 1.0, 2.0, 100), DeviceConfig(2.0, 4.0, 8.0, 100)
        config.fleet.profiles, config.fleet.devices = {"slow": slow, "fast": fast}, ["slow", "fast"]

    def prefix(config: ExperimentConfig) -> None:
        change(config, [4, 2, 1])
        config.method.options["draw"] = "prefix"

    made = {
        "fedra": make_run(lambda config: change(config, [4, 2, 1])),
        "permuted": make_run(lambda config: change(config, [1, 4, 2], seed=1)),
        "shallow": make_run(lambda config: change(config, [1, 1, 1])),
        "prefix": make_run(prefix),
        "headonly": make_run(lambda config: change(config, [4, 2, 1], method="headonly")),
        "depthfl": make_run(lambda config: change(config, [4, 2, 1], method="depthfl")),
    }
    return {name: read_run(folder) for name, folder in made.items()}
