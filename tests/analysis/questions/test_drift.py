import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shipped_method

from analysis.questions.drift import cosine, drift, gradient, main, pulls
from analysis.runs.reading import read_run
from analysis.runs.replay import Replay, Vector
from analysis.runs.tuned import Tuned
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.traffic import Traffic

HALF = np.array([0.5, 0.5])


def test_drift_and_cosine_of_cases_computed_by_hand() -> None:
    apart = np.array([[1.0, 0.0], [0.0, 1.0]])  # mean (1/2, 1/2), from which both are as far as it is long
    assert drift(apart, HALF) == pytest.approx(1)
    assert cosine(apart) == pytest.approx(0)
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert math.isnan(drift(opposite, HALF))
    assert cosine(opposite) == -1
    # mean 3/4 · 4 + 1/4 · 0 = 3, distances 1 and 3, so (1 + 3) / 2 / 3
    assert drift(np.array([[4.0], [0.0]]), np.array([0.75, 0.25])) == pytest.approx(2 / 3)
    assert math.isnan(cosine(np.array([[4.0], [0.0]])))


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.1, 10))
def test_equal_changes_do_not_drift_and_scale_does_not_matter(seed: int, holders: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    changes, shares = rng.standard_normal((holders, 6)), rng.dirichlet(np.ones(holders))
    same = np.repeat(changes[:1], holders, axis=0)
    assert drift(same, shares) == pytest.approx(0, abs=1e-9)
    assert cosine(same) == pytest.approx(1)
    assert drift(scale * changes, shares) == pytest.approx(drift(changes, shares))
    assert cosine(scale * changes) == pytest.approx(cosine(changes))


def test_only_what_two_clients_hold_can_drift(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    layout, values = replay.layout, replay.values(0)

    def update(client: int, layers: tuple[int, ...], change: float) -> ClientUpdate:
        task = ClientTask(1, client, layers, ("head",))
        trained = layout.pack(values, layout.held(layers, ("head",))) + np.float32(change)
        return ClientUpdate(task, Traffic(0, 0), 1, 1, 0.0, 0.0, values=trained)

    found = pulls(Tuned.of(replay, values, [update(0, (0, 1), 1), update(1, (1, 2), 3), update(2, (1,), 2)]))
    assert found["is_head"].tolist() == [False, True]
    assert found["holders"].tolist() == [3, 3]
    assert found["pairs"].tolist() == [3, 3]
    # changes of 1, 3 and 2 in every value: mean 2, distances 1, 1 and 0
    assert found["drift"].to_numpy() == pytest.approx((1 + 1 + 0) / 3 / 2, abs=1e-4)
    assert found["cosine"].to_numpy() == pytest.approx(1, abs=1e-6)


def test_the_gradient_is_that_of_the_loss(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    values = replay.values(2)
    found = gradient(replay, values, 24)
    lora, heads = replay.model.trained()
    whole = np.concatenate([part.grad for part in (*lora, *heads)])
    assert math.hypot(found["gradient_lora"], found["gradient_heads"]) == pytest.approx(np.linalg.norm(whole), rel=1e-5)

    def loss(values: Vector) -> float:
        return gradient(replay, values, 24)["loss"]

    step = (0.01 * whole / np.linalg.norm(whole)).astype(np.float32)
    slope = (loss(values + step) - loss(values - step)) / (2 * np.linalg.norm(step))
    assert slope == pytest.approx(np.linalg.norm(whole), rel=0.02)


def test_nothing_reaches_lora_through_a_head_of_zeros(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    found = gradient(replay, replay.values(0), 2)
    assert found["gradient_lora"] == 0
    assert found["gradient_heads"] > 0
    assert found["loss"] == pytest.approx(math.log(3))


def test_the_command_takes_methods_of_any_kind(fedra_run: str, make_run: Callable[..., str], tmp_path: Path) -> None:
    def depthfl(config: ExperimentConfig) -> None:
        config.method = shipped_method("depthfl")

    def head_only(config: ExperimentConfig) -> None:
        config.method = shipped_method("headonly")

    runs = [fedra_run, make_run(depthfl), make_run(head_only)]
    assert main([*runs, "--out", str(tmp_path), "--images", "4"]) == 0
    table = pd.read_parquet(tmp_path / "drift.parquet").set_index(["label", "round"])
    assert len(table) == 9
    assert table.loc["Head only", "drift"].isna().all()
    assert (table["drift_heads"] > 0).all()
    assert table["cosine_heads"].between(-1, 1).all()
    assert (tmp_path / "drift.png").exists()
