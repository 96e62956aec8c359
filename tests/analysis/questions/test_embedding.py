from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.questions.embedding import draw, embed, main
from fedra_ray.config.schema import ExperimentConfig


def test_groups_stay_apart_and_the_map_repeats() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 15)
    values = rng.standard_normal((30, 8)) + 40 * groups[:, None]
    found = embed(values)
    assert (found == embed(values)).all()
    distances = np.linalg.norm(found[:, None] - found, axis=2) + 1e9 * np.eye(30)
    assert (groups[distances.argmin(axis=1)] == groups).all()


def test_features_that_are_all_alike_lie_in_one_place() -> None:
    assert not embed(np.ones((6, 3))).any()


def test_one_run_of_every_method_is_shown(fedra_run: str, make_run: Callable[..., str], tmp_path: Path) -> None:
    def other_seed(config: ExperimentConfig) -> None:
        config.seed = 1

    assert main([fedra_run, make_run(other_seed), "--out", str(tmp_path), "--layers", "0", "4"]) == 0
    table = pd.read_parquet(tmp_path / "embedding.parquet")
    assert set(table["run"]) == {fedra_run}
    assert len(table) == 2 * 18
    assert set(table["name"]) == {"square", "circle", "cross"}
    assert len(draw(table).axes) == 4


@pytest.mark.parametrize("wrong", [["--layers", "5"], ["--images", "5"]])
def test_what_cannot_be_shown_is_refused(wrong: list[str], fedra_run: str, tmp_path: Path) -> None:
    assert main([fedra_run, "--out", str(tmp_path), *wrong]) == 2
    assert not list(tmp_path.iterdir())
