from collections.abc import Callable

import pytest
from support import shipped_method

from analysis.runs.costs import cost_of, mean_flops, regime_and_memory
from analysis.runs.reading import Run, read_run
from fedra_ray.config.schema import ExperimentConfig, WrapperConfig
from fedra_ray.cost.law import MEGABYTE, Passed


def test_the_client_that_needs_most_counts(several_runs: dict[str, Run]) -> None:
    cost = cost_of(several_runs["fedra"])
    batch = several_runs["fedra"].config.training.batch_size
    assert regime_and_memory(several_runs["fedra"]) == ("absent", cost.memory(4, batch) / MEGABYTE)
    assert regime_and_memory(several_runs["shallow"]) == ("absent", cost.memory(1, batch) / MEGABYTE)
    assert regime_and_memory(several_runs["headonly"]) == ("frozen", cost.memory(0, batch, passed=Passed(4)) / MEGABYTE)


def test_arithmetic_is_that_of_all_images_in_the_sub_models_of_clients(several_runs: dict[str, Run]) -> None:
    run = several_runs["shallow"]  # all of one block
    clients = run.table("clients")
    seen = [min(row.steps * run.config.training.batch_size, row.examples) for row in clients.itertuples()]
    assert mean_flops(run) == pytest.approx(sum(seen) / len(seen) * cost_of(run).step_flops(1))
    assert mean_flops(several_runs["fedra"]) > mean_flops(run)


def test_the_heads_of_a_client_are_counted(several_runs: dict[str, Run]) -> None:
    run = several_runs["depthfl"]
    expected = cost_of(run).memory(4, run.config.training.batch_size, heads=3)  # one at each depth of the fleet
    assert regime_and_memory(run) == ("absent", pytest.approx(expected / MEGABYTE))


@pytest.mark.parametrize("regime", ["frozen", "streamed", "recomputed"])
def test_blocks_that_run_without_training_make_a_regime_of_their_own(
    regime: str, make_run: Callable[..., str], several_runs: dict[str, Run]
) -> None:
    def change(config: ExperimentConfig) -> None:
        config.rounds, config.fleet.depths, config.method = 1, [1, 1, 1], shipped_method("suffix")
        options = {} if regime == "frozen" else {regime: True}
        config.submodel = WrapperConfig(regime, target="fedra_ray.methods.frozen_blocks.FrozenBlocks", options=options)

    kind, memory = regime_and_memory(read_run(make_run(change)))
    assert kind == regime
    absent = regime_and_memory(several_runs["shallow"])[1]
    whole = regime_and_memory(several_runs["fedra"])[1]
    assert absent < memory < whole


def test_a_partial_client_is_counted_at_its_depth(make_run: Callable[..., str], several_runs: dict[str, Run]) -> None:
    def change(config: ExperimentConfig) -> None:
        config.rounds, config.fleet.depths, config.method = 1, [2, 2, 2], shipped_method("partial")

    run = read_run(make_run(change))
    batch = run.config.training.batch_size
    expected = cost_of(run).memory(4, batch, passed=Passed(partial=3, share=0.25))
    assert regime_and_memory(run) == ("streamed", expected / MEGABYTE)
    assert expected / MEGABYTE < regime_and_memory(several_runs["fedra"])[1]
