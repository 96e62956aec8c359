"""The round, carried out in this process: clients are trained one after another, and arrive in any order."""

from pathlib import Path

import numpy as np
import pytest
from in_process import METHODS, InProcess, finish, named, table

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.schema import ExperimentConfig, PartitionConfig
from fedra_ray.experiment import run
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.federation.reports import RoundReport
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal


@pytest.mark.parametrize("name", METHODS)
def test_order_of_arrival_changes_no_bit(name: str, config: ExperimentConfig, tmp_path: Path) -> None:
    config.method = named(name)
    config.fleet.num_clients = 6
    first = finish(InProcess(config), tmp_path / "first")
    second = finish(InProcess(config, arrival=5), tmp_path / "second")
    assert first.values.tobytes() != InProcess(config).blueprint.layout.initial(0).tobytes()
    assert first.values.tobytes() == second.values.tobytes()
    assert first.scores == second.scores
    for records in ("rounds", "clients", "evaluations"):
        assert table(tmp_path / "first", records) == table(tmp_path / "second", records)


def test_clients_are_drawn_lazily_from_a_fleet_larger_than_the_data_set(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.partition = PartitionConfig("lazy", "lazy", alpha=0.1, examples_per_client=5)
    config.fleet.num_clients, config.fleet.clients_per_round = 100_000, 3
    first = finish(InProcess(config), tmp_path / "first")
    second = finish(InProcess(config, arrival=5), tmp_path / "second")
    assert first.values.tobytes() == second.values.tobytes()
    clients = table(tmp_path / "first", "clients")
    assert [row["examples"] for row in clients] == [5] * 6
    assert max(row["client"] for row in clients) > 72


def test_the_seed_changes_the_result(config: ExperimentConfig, tmp_path: Path) -> None:
    first = finish(InProcess(config), tmp_path / "first")
    config.seed = 1
    assert finish(InProcess(config), tmp_path / "second").values.tobytes() != first.values.tobytes()


def test_a_fleet_in_which_nobody_holds_the_model_runs_and_records_its_coverage(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.fleet.depths = [1, 1, 1]
    finish(InProcess(config), tmp_path)
    for row in table(tmp_path, "rounds"):
        assert sum(row["layer_holders"]) == 3
        assert 0 in row["layer_holders"]


def test_a_layer_without_holder_keeps_its_value_and_the_others_move(config: ExperimentConfig, tmp_path: Path) -> None:
    config.fleet.depths, config.rounds = [1], 1
    workers = InProcess(config)
    values, before = finish(workers, tmp_path).values, workers.blueprint.layout.initial(config.seed)
    (row,) = table(tmp_path, "rounds")
    holders = row["layer_holders"]
    assert 0 in holders
    assert sum(holders) == 3
    for segment, count in zip(workers.blueprint.layout.segments, [*holders, 3], strict=True):
        assert (values[segment].tobytes() == before[segment].tobytes()) == (count == 0)


def test_layer_holders_count_the_clients_of_each_layer(config: ExperimentConfig, tmp_path: Path) -> None:
    config.fleet.num_clients = 9
    finish(InProcess(config), tmp_path)
    for row in table(tmp_path, "rounds"):
        clients = [each for each in table(tmp_path, "clients") if each["round"] == row["round"]]
        assert row["cohort"] == [each["client"] for each in clients] == list(range(9))
        held = [layer for each in clients for layer in each["layers"]]
        assert row["layer_holders"] == np.bincount(held, minlength=4).tolist()
        assert [len(each["layers"]) for each in clients] == [4, 2, 1] * 3


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_a_round_is_the_weighted_mean_of_its_updates(weighting: str, config: ExperimentConfig, tmp_path: Path) -> None:
    config.aggregation.weighting, config.rounds = weighting, 1
    config.fleet.num_clients, config.partition.alpha = 9, 0.5
    workers = InProcess(config, arrival=1)
    found = finish(workers, tmp_path).values
    layout = workers.blueprint.layout
    total = MaskedSum(layout.segments)
    assert len({update.examples for update in workers.updates}) > 1
    for update in workers.updates:
        weight = update.examples if weighting == "examples" else 1
        total.add(layout.held(update.task.layers, update.task.sent), update.values, weight)
    assert found.tobytes() == total.mean(layout.initial(config.seed)).tobytes()


def test_every_round_draws_its_allocation_anew(config: ExperimentConfig, tmp_path: Path) -> None:
    config.fleet.depths, config.rounds = [2], 6
    workers = InProcess(config)
    finish(workers, tmp_path)
    layers = [update.task.layers for update in workers.updates]
    rounds = {tuple(layers[start : start + 3]) for start in range(0, 18, 3)}
    assert len(rounds) == 6


def test_a_cohort_is_part_of_the_fleet(config: ExperimentConfig, tmp_path: Path) -> None:
    config.fleet.num_clients, config.fleet.clients_per_round, config.rounds = 30, 2, 4
    finish(InProcess(config), tmp_path)
    cohorts = [row["cohort"] for row in table(tmp_path, "rounds")]
    assert [len(cohort) for cohort in cohorts] == [2] * 4
    assert len(set(map(tuple, cohorts))) > 1


def test_clients_that_are_not_eligible_never_take_part(config: ExperimentConfig, tmp_path: Path) -> None:
    config.method, config.fleet.num_clients = named("exclusive"), 6
    finish(InProcess(config), tmp_path)
    assert [row["cohort"] for row in table(tmp_path, "rounds")] == [[0, 3]] * 2


def test_the_model_is_evaluated_every_few_rounds_and_at_the_end(config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.evaluation.every = 5, 2
    workers = InProcess(config)
    reports = list(run(workers.blueprint, workers, Journal(Folder(tmp_path), config)))
    assert [len(report.scores) for report in reports] == [0, 3, 0, 3, 3, 3]
    assert {row["round"] for row in table(tmp_path, "evaluations")} == {2, 4, 5}
    assert reports[-1].scores == reports[-2].scores == workers.evaluate(reports[-1].values)()


def test_training_helps(config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.training.max_steps = 3, None
    config.training.local_epochs, config.training.lr, config.training.head_lr = 6, 0.3, 0.3
    workers = InProcess(config)
    reports = run(workers.blueprint, workers, Journal(Folder(tmp_path), config))
    losses = [report.loss for report in reports if isinstance(report, RoundReport)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_blueprint_survives_the_trip_to_an_actor(config: ExperimentConfig) -> None:
    import pickle

    blueprint, _ = check_experiment(config)
    copied: Blueprint = pickle.loads(pickle.dumps(blueprint))
    assert copied == blueprint
    assert len(pickle.dumps(blueprint)) < 20_000


def test_depths_that_are_drawn_anew_decide_a_rounds_allocation(config: ExperimentConfig, tmp_path: Path) -> None:
    config.fleet.dynamic, config.fleet.num_clients, config.rounds = True, 6, 4
    workers = InProcess(config)
    finish(workers, tmp_path)
    fleet = workers.blueprint.fleet()
    rows = table(tmp_path, "clients")
    for row in rows:
        assert row["depth"] == len(row["layers"]) == fleet.depths(row["round"])[row["client"]]
    assert len({tuple(row["depth"] for row in rows if row["round"] == number) for number in range(1, 5)}) == 4


def test_a_round_without_an_eligible_client_keeps_the_model(config: ExperimentConfig, tmp_path: Path) -> None:
    config.method, config.rounds = named("exclusive"), 1
    config.fleet.dynamic, config.fleet.probabilities = True, [0.0, 0.5, 0.5]  # none of depth 4
    workers = InProcess(config)
    found = finish(workers, tmp_path)
    assert found.values.tobytes() == workers.blueprint.layout.initial(0).tobytes()
    (row,) = table(tmp_path, "rounds")
    assert row["cohort"] == []
    assert np.isnan(row["train_loss"])


@pytest.mark.parametrize(
    ("cap", "extra", "expected"),
    [("none", False, None), ("cohort", False, 0), ("cohort", True, 1), ("fleet", False, 0), ("fleet", True, 1)],
)
def test_nobody_takes_more_steps_than_the_smallest_client(
    cap: str, extra: bool, expected: int | None, config: ExperimentConfig, tmp_path: Path
) -> None:
    config.fleet.num_clients, config.partition.alpha, config.training.max_steps = 9, 0.3, None
    config.fleet.clients_per_round, config.training.batch_size = 3, 2
    config.training.step_cap, config.training.extra_step = cap, extra
    workers = InProcess(config)
    finish(workers, tmp_path)
    sizes = workers.blueprint.division().sizes()
    assert len(set(sizes.tolist())) > 2
    for row in table(tmp_path, "rounds"):
        updates = [update for update in workers.updates if update.task.round == row["round"]]
        smallest = min(sizes[row["cohort"]] if cap == "cohort" else sizes)
        for update in updates:
            own = -(-update.examples // 2)
            assert update.steps == (own if expected is None else min(own, -(-smallest // 2) + expected))


@pytest.mark.parametrize("scheme", ["iid", "shards"])
def test_other_partitions_train_too(scheme: str, config: ExperimentConfig, tmp_path: Path) -> None:
    config.partition.scheme, config.fleet.num_clients = scheme, 6
    finish(InProcess(config), tmp_path)
    domains = {row["client"]: row["domain"] for row in table(tmp_path, "clients")}
    assert set(domains.values()) == ({"mixed"} if scheme == "iid" else {"dark", "light", "noisy"})


def test_the_patch_embedding_is_averaged_only_in_rounds_with_client_0(config: ExperimentConfig, tmp_path: Path) -> None:
    config.lora.patch_embedding, config.aggregation.patch_embedding, config.rounds = True, "client_0", 6
    config.fleet.clients_per_round = 2
    workers = InProcess(config, arrival=3)
    segment = workers.blueprint.layout.segments[-1]
    assert segment.stop - segment.start == 8 * 3 * 8 * 8 + 16 * 8
    before = workers.blueprint.layout.initial(0)[segment]
    for number in range(1, 7):
        config.rounds = number
        after = finish(workers, tmp_path).values[segment]
        cohort = table(tmp_path, "rounds")[-1]["cohort"]
        assert (after.tobytes() != before.tobytes()) == (0 in cohort)
        before = after
