"""The round, carried out in this process: clients are trained one after another, and arrive in any order."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fedra_ray.blueprint import Blueprint
from fedra_ray.client.host import ClientHost
from fedra_ray.config.errors import ClientLostError, ImageError
from fedra_ray.config.schema import ExperimentConfig, MethodConfig, PartitionConfig
from fedra_ray.experiment import run
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate, Score
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.preflight import draw_up
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal

METHODS = {
    "fedra": "FedRA",
    "alllarge": "AllLarge",
    "allsmall": "AllSmall",
    "exclusive": "Exclusive",
    "headonly": "HeadOnly",
    "inclusivefl": "InclusiveFL",
    "depthfl": "DepthFL",
}


class InProcess:
    """Workers without Ray.

    Args:
        config: The experiment.
        arrival: Seed of the order in which clients are trained and arrive; None for the order of tasks.
        failing: Fail on the training of this number, counted from 1 over all rounds.
    """

    def __init__(self, config: ExperimentConfig, arrival: int | None = None, failing: int = 0) -> None:
        self.blueprint, weights = draw_up(config)
        self.host = ClientHost(self.blueprint, weights)
        self.arrival = None if arrival is None else np.random.default_rng(arrival)
        self.failing = failing
        self.updates: list[ClientUpdate] = []

    def train(self, tasks: list[ClientTask], sent: ServerState, kept: Mapping[int, Arrays]) -> Iterator[PartialRound]:
        order = range(len(tasks)) if self.arrival is None else self.arrival.permutation(len(tasks))
        for index in order:
            if len(self.updates) + 1 == self.failing:
                raise KeyboardInterrupt
            update = self.host.train_one(tasks[index], sent, kept.get(tasks[index].client))
            self.updates.append(update)
            yield self.host.reduce([self.answer(update)], sent.values)

    def answer(self, update: ClientUpdate) -> ClientUpdate | ClientFailure:
        return update

    def evaluate(self, values: np.ndarray) -> Callable[[], list[Score]]:
        return self.host.evaluate(values)


def finish(workers: InProcess, folder: Path) -> Outcome:
    folder.mkdir(exist_ok=True)
    *reports, outcome = run(workers.blueprint, workers, Journal(Folder(folder), workers.blueprint.config))
    assert isinstance(outcome, Outcome)
    assert all(isinstance(report, RoundReport) for report in reports)
    return outcome


def table(folder: Path, name: str) -> list[dict[str, object]]:
    rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def named(name: str) -> MethodConfig:
    return MethodConfig(name, target=f"fedra_ray.methods.{name}.{METHODS[name]}")


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


def restarted(config: ExperimentConfig, folder: Path, failing: int) -> Outcome:
    """An experiment that is interrupted on a training, and then taken up again."""
    folder.mkdir()
    workers = InProcess(config, failing=failing)
    with pytest.raises(KeyboardInterrupt):
        list(run(workers.blueprint, workers, Journal(Folder(folder), workers.blueprint.config)))
    return finish(InProcess(config, arrival=2), folder)


@pytest.mark.parametrize("failing", [1, 5, 7, 12], ids="training {}".format)
def test_an_interrupted_run_ends_as_an_undisturbed_one(failing: int, config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.checkpoint.every, config.evaluation.every = 4, 2, 2
    whole = finish(InProcess(config), tmp_path / "whole")
    parts = restarted(config, tmp_path / "parts", failing)
    assert parts.values.tobytes() == whole.values.tobytes()
    assert parts.scores == whole.scores
    for records in ("rounds", "clients", "evaluations"):
        assert table(tmp_path / "parts", records) == table(tmp_path / "whole", records)


def test_a_restart_begins_after_the_last_checkpoint(config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.checkpoint.every = 4, 2
    workers = InProcess(config)
    for report in itertools.islice(run(workers.blueprint, workers, Journal(Folder(tmp_path), config)), 3):
        assert report.round <= 3
    again = InProcess(config)
    finish(again, tmp_path)
    assert [update.task.round for update in again.updates] == [3] * 3 + [4] * 3


def test_a_run_whose_rounds_are_done_only_evaluates(config: ExperimentConfig, tmp_path: Path) -> None:
    first = finish(InProcess(config), tmp_path)
    again = InProcess(config)
    outcome = finish(again, tmp_path)
    assert again.updates == []
    assert outcome.values.tobytes() == first.values.tobytes()
    assert outcome.scores == first.scores


class Spoiling(InProcess):
    """Changes the values of some clients' updates."""

    def __init__(self, config: ExperimentConfig, spoil: dict[int, Callable[[np.ndarray], np.ndarray]]) -> None:
        super().__init__(config, arrival=2)
        self.spoil = spoil

    def answer(self, update: ClientUpdate) -> ClientUpdate:
        change = self.spoil.get(update.task.client)
        return update if change is None else replace(update, values=change(update.values.copy()))


def poisoned(values: np.ndarray, value: float) -> np.ndarray:
    values[7] = value
    return values


BAD = {
    "nan": (lambda values: poisoned(values, np.nan), "not finite"),
    "inf": (lambda values: poisoned(values, -np.inf), "not finite"),
    "huge": (lambda values: poisoned(values, 1e30), r"a value of 1e\+30, beyond"),
    "norm": (lambda values: values + 10, "norm .* beyond aggregation.max_norm=5"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_update_is_rejected_and_named_and_the_others_are_averaged(
    kind: str, config: ExperimentConfig, tmp_path: Path
) -> None:
    config.aggregation.max_norm, config.rounds = 5.0, 1
    spoil, message = BAD[kind]
    workers = Spoiling(config, {1: spoil})
    report, outcome = run(workers.blueprint, workers, Journal(Folder(tmp_path), config))
    assert list(report.missing.rejected) == [1]
    assert re.match(message, report.missing.rejected[1])
    layout = workers.blueprint.layout
    total = MaskedSum(layout.segments)
    for update in workers.updates:
        if update.task.client != 1:
            total.add(layout.held(update.task.layers, update.task.sent), update.values)
    assert outcome.values.tobytes() == total.mean(layout.initial(0)).tobytes()
    (row,) = table(tmp_path, "rounds")
    assert (row["rejected"], row["cohort"]) == ([1], [0, 1, 2])
    assert [each["client"] for each in table(tmp_path, "clients")] == [0, 2]


def test_a_cohort_without_a_valid_update_keeps_the_model(config: ExperimentConfig, tmp_path: Path) -> None:
    workers = Spoiling(config, {client: BAD["nan"][0] for client in range(3)})
    outcome = finish(workers, tmp_path)
    assert outcome.values.tobytes() == workers.blueprint.layout.initial(0).tobytes()
    assert [row["rejected"] for row in table(tmp_path, "rounds")] == [[0, 1, 2]] * 2


class Failing(InProcess):
    """Client 1 fails for good."""

    def answer(self, update: ClientUpdate) -> ClientUpdate | ClientFailure:
        return ClientFailure(update.task, "no luck") if update.task.client == 1 else update


def test_a_failed_client_ends_the_run_or_is_dropped(config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(ClientLostError, match="round 1: client 1 failed 3 times, the last time with: no luck"):
        finish(Failing(config), tmp_path / "fail")
    config.on_client_failure = "drop"
    finish(Failing(config), tmp_path / "drop")
    rows = table(tmp_path / "drop", "rounds")
    assert [(row["cohort"], row["dropped"]) for row in rows] == [([0, 1, 2], [1])] * 2


def test_clients_that_drop_out_or_are_late_are_the_same_after_a_restart(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.fleet.num_clients, config.fleet.dropout = 9, 0.3
    config.fleet.straggler_spread, config.fleet.round_deadline = 1.0, 2.0
    config.rounds, config.checkpoint.every = 4, 1
    whole = finish(InProcess(config), tmp_path / "whole")
    parts = restarted(config, tmp_path / "parts", failing=8)
    assert parts.values.tobytes() == whole.values.tobytes()
    rows = table(tmp_path / "whole", "rounds")
    assert rows == table(tmp_path / "parts", "rounds")
    assert sum(len(row["dropped"]) for row in rows) > 3
    assert sum(len(row["late"]) for row in rows) > 3
    for row in rows:
        trained = [each["client"] for each in table(tmp_path / "whole", "clients") if each["round"] == row["round"]]
        assert sorted([*trained, *row["dropped"], *row["late"]]) == row["cohort"] == list(range(9))


def test_training_helps(config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.training.max_steps = 3, None
    config.training.local_epochs, config.training.lr, config.training.head_lr = 6, 0.3, 0.3
    workers = InProcess(config)
    reports = run(workers.blueprint, workers, Journal(Folder(tmp_path), config))
    losses = [report.loss for report in reports if isinstance(report, RoundReport)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_blueprint_survives_the_trip_to_an_actor(config: ExperimentConfig) -> None:
    import pickle

    blueprint, _ = draw_up(config)
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
    config.lora.patch_embedding, config.rounds = True, 6
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


@pytest.fixture
def damaged(config: ExperimentConfig, tmp_path: Path) -> ExperimentConfig:
    """A data set whose row 2, a training image of `dark`, is no image."""
    source = pq.read_table(config.dataset.root)
    images = source["image"].to_pylist()
    images[2] = b"no image at all"
    config.dataset.root = str(tmp_path / "damaged.parquet")
    pq.write_table(source.set_column(source.schema.get_field_index("image"), "image", [images]), config.dataset.root)
    config.training.max_steps = None
    return config


def test_an_image_that_cannot_be_read_ends_the_run_and_is_named(damaged: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"damaged.parquet, row 2: not an image of a known format"):
        finish(InProcess(damaged), tmp_path / "run")


def test_a_skipped_image_is_recorded_once_and_changes_nothing_else(damaged: ExperimentConfig, tmp_path: Path) -> None:
    damaged.dataset.on_error = "skip"
    first = finish(InProcess(damaged), tmp_path / "first")
    (row,) = table(tmp_path / "first", "skipped")
    assert row["round"] == 1
    assert row["image"].endswith("damaged.parquet, row 2")
    damaged.dataset.memory_mb = 0
    second = finish(InProcess(damaged, arrival=1), tmp_path / "second")
    assert first.values.tobytes() == second.values.tobytes()
    assert table(tmp_path / "second", "skipped") == [row]
