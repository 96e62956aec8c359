from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import shipped_method

from analysis.questions.additivity import SITUATIONS, main, situations
from analysis.runs.factors import AGGREGATIONS, Factors
from analysis.runs.gaps import branch_gaps
from analysis.runs.reading import read_run
from analysis.runs.replay import Replay
from analysis.runs.tuned import Held
from fedra_ray.config.schema import ExperimentConfig

INPUTS = {"x": np.array([[1.0, 0.0], [0.0, 2.0]])}
ONE = Factors(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
START = {"x": Factors(np.array([[1.0, 2.0]]), np.zeros((2, 1)))}


def gap(held: list[Factors], aggregation: str) -> tuple[float, float]:
    return branch_gaps({"x": Held(held, np.full(len(held), 1 / len(held)))}, START, INPUTS)[aggregation]


@pytest.fixture(scope="module")
def table(fedra_run: str, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("additivity")
    assert main([fedra_run, "--out", str(out), "--rounds", "2", "--images", "4"]) == 0
    assert (out / "additivity.png").exists()
    assert (out / "additivity_rounds.png").exists()
    return pd.read_parquet(out / "additivity.parquet")


def test_the_claim_fails_wholly_for_opposite_factors() -> None:
    held = [ONE, Factors(-ONE.a, -ONE.b)]
    assert gap(held, "FedIT") == (1, 1)
    assert gap(held, "FLoRA") == pytest.approx((0, 0), abs=1e-12)
    assert gap(held, "FlexLoRA") == pytest.approx((0, 0), abs=1e-12)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("held", [[ONE, Factors(ONE.a, 5 * ONE.b)], [ONE]], ids=["equal A", "one holder"])
def test_the_claim_holds_for_equal_a_and_for_one_holder(held: list[Factors], aggregation: str) -> None:
    assert gap(held, aggregation) == pytest.approx((0, 0), abs=1e-12)


def test_the_gap_is_also_seen_against_the_change() -> None:
    # A 1 and 3, B 2 and 4: the mean output is 7 x, with averaged factors 6 x; it was 5 x.
    held = [Factors(np.array([[1.0]]), np.array([[2.0]])), Factors(np.array([[3.0]]), np.array([[4.0]]))]
    before = {"x": Factors(np.array([[1.0]]), np.array([[5.0]]))}
    found = branch_gaps({"x": Held(held, np.array([0.5, 0.5]))}, before, {"x": np.array([[1.0], [-2.0]])})
    assert found["FedIT"] == pytest.approx((1 / 7, 1 / 2))


def test_situations_are_what_they_are_called(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    found = {name: [task.layers for task in tasks] for name, tasks in situations(replay, 2).items()}
    assert tuple(found) == SITUATIONS
    assert found["all layers"] == [(0, 1, 2, 3)] * 3
    assert found["same layers"] == [found["same layers"][0]] * 3
    assert len(found["same layers"][0]) == 2  # the mean of 4, 2 and 1, rounded
    assert found["FedRA draw"] == [task.layers for task in replay.tasks(2)]
    disjoint = [layer for layers in found["disjoint layers"] for layer in layers]
    assert len(disjoint) == len(set(disjoint)) == 3


def test_only_layers_with_two_holders_have_a_gap(table: pd.DataFrame) -> None:
    layers = table[table["part"] == "layer"]
    alone, shared = layers[layers["holders"] < 2], layers[layers["holders"] > 1]
    assert alone["error"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert (layers.query("holders == 0")["error"] == 0).all()
    assert shared.query("aggregation == 'FLoRA'")["error"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert (shared.query("round == 2 and aggregation == 'FedIT'")["error"] > 1e-6).all()
    # From B = 0 and a head of zeros no gradient reaches A in two steps: all A are equal, and the claim holds.
    assert shared.query("round == 0")["error"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert set(layers["holders"]) >= {0, 1, 3}


def test_end_to_end_even_exact_branches_leave_a_gap(table: pd.DataFrame) -> None:
    ends = table[table["part"] != "layer"]
    assert len(ends) == 2 * 4 * 3 * 2
    assert (ends.query("round == 2 and aggregation == 'FLoRA'")["error"] > 1e-6).all()
    whole = ends.query("situation == 'all layers'").pivot_table("error", ["round", "aggregation"], "part")
    assert whole["scores"].to_numpy() == pytest.approx(whole["sub-models"].to_numpy(), rel=1e-3)


def test_methods_of_several_heads_are_left_out(
    make_run: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def depthfl(config: ExperimentConfig) -> None:
        config.method = shipped_method("depthfl")

    assert main([make_run(depthfl), "--out", str(tmp_path)]) == 2
    assert "one head" in capsys.readouterr().err
