"""Finished runs of the miniature world for the analyses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.in_process import carry_out
from fedra_ray.config import ExperimentConfig


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
        carry_out(config)
        return config.run_dir

    return make


@pytest.fixture(scope="session")
def fedra_run(make_run: Callable[..., str]) -> str:
    """A run of FedRA. Read it; change nothing in it."""
    return make_run()
