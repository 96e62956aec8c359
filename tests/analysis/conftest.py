"""Finished runs of the miniature world for the analyses."""

from collections.abc import Callable

import pytest
from support import shipped_method

from analysis.runs.reading import Run, read_run
from fedra_ray.config.schema import DeviceConfig, ExperimentConfig


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
