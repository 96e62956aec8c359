import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import note_round

from fedra_ray.federation.messages import ClientReport, ClientTask, Score
from fedra_ray.federation.reports import Missing
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import SCHEMAS, Records


def update(number: int, client: int, loss: float = 1.0) -> ClientReport:
    task = ClientTask(number, client, (0, 2), ("head",), fetched=70)
    return ClientReport(task, 40, 24, 3, loss, 0.25, slot=1, attempt=2)


def add_round(
    records: Records,
    number: int,
    losses: dict[int, float],
    missing: Missing | None = None,
    scores: Sequence[Score] = (),
) -> float:
    clients = [update(number, client, loss) for client, loss in losses.items()]
    return note_round(records, clients, 2, number, missing, scores, num_layers=3, domain="clipart").loss


def read(folder: Path, name: str) -> list[dict[str, object]]:
    table = pq.read_table(folder / f"{name}.parquet")
    assert table.schema.equals(SCHEMAS[name])
    return table.to_pylist()


def test_tables_hold_what_was_noted(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    assert add_round(records, 1, {4: 3.0, 1: 1.0}, scores=[Score("clipart", "test", 8, 2, 6, 0.5)]) == 2.0
    records.save()
    assert read(tmp_path, "rounds") == [
        {
            "round": 1,
            "seconds": 1.5,
            "cohort": [1, 4],
            "layer_holders": [2, 0, 2],
            "train_loss": 2.0,
            "bytes_up": 80,
            "bytes_down": 80,
            "rejected": [],
            "dropped": [],
            "late": [],
            "simulated_s": None,
            "bytes_fetched": 140,
        }
    ]
    assert read(tmp_path, "clients")[1] == {
        "round": 1,
        "client": 4,
        "domain": "clipart",
        "depth": 2,
        "layers": [0, 2],
        "examples": 24,
        "steps": 3,
        "loss": 3.0,
        "seconds": 0.25,
        "bytes_up": 40,
        "bytes_down": 40,
        "slot": 1,
        "attempt": 2,
        "simulated_s": None,
        "bytes_fetched": 70,
    }
    score = {"round": 1, "domain": "clipart", "split": "test", "examples": 8, "top1": 0.25, "top5": 0.75, "loss": 0.5}
    assert read(tmp_path, "evaluations") == [score]


def test_order_of_arrival_shows_in_no_table(tmp_path: Path) -> None:
    losses = {5: 0.1, 3: 0.2, 4: 0.3}
    means = []
    for name, order in (("first", (5, 3, 4)), ("second", (4, 5, 3))):
        (tmp_path / name).mkdir()
        records = Records(Folder(tmp_path / name))
        means.append(add_round(records, 1, {client: losses[client] for client in order}))
        records.save()
    assert means[0] == means[1]
    for table in ("rounds", "clients"):
        assert read(tmp_path / "first", table) == read(tmp_path / "second", table)


def test_without_rounds_the_tables_are_empty_but_typed(tmp_path: Path) -> None:
    Records(Folder(tmp_path)).save()
    assert {name: read(tmp_path, name) for name in SCHEMAS} == {name: [] for name in SCHEMAS}


def test_saving_leaves_no_part_behind(tmp_path: Path) -> None:
    Records(Folder(tmp_path)).save()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.parquet" for name in SCHEMAS)


def test_restoring_drops_the_rounds_after_the_restart_point(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    for number in (1, 2, 3):
        add_round(records, number, {0: float(number)}, scores=[Score("clipart", "test", 8, number, 8, 0.5)])
    records.save()
    again = Records(Folder(tmp_path))
    again.restore(2)
    add_round(again, 3, {0: 9.0})
    again.save()
    assert [row["train_loss"] for row in read(tmp_path, "rounds")] == [1.0, 2.0, 9.0]
    assert [row["loss"] for row in read(tmp_path, "clients")] == [1.0, 2.0, 9.0]
    assert [row["top1"] for row in read(tmp_path, "evaluations")] == [1 / 8, 2 / 8]


def test_restoring_without_tables_starts_empty(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    records.restore(5)
    records.save()
    assert read(tmp_path, "rounds") == []


@pytest.mark.parametrize("name", ["rounds", "clients", "evaluations"])
def test_every_table_states_its_round(name: str) -> None:
    assert SCHEMAS[name].names[0] == "round"


def test_clients_that_are_missing_from_the_average_are_named(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    assert math.isnan(add_round(records, 1, {}, Missing([7, 2], [5], {9: "not finite"})))
    assert add_round(records, 2, {3: 0.5}, Missing(dropped=[1])) == 0.5
    records.save()
    first, second = read(tmp_path, "rounds")
    assert (first["cohort"], second["cohort"]) == ([2, 5, 7, 9], [1, 3])
    assert (first["dropped"], first["late"], first["rejected"]) == ([2, 7], [5], [9])
    assert (first["layer_holders"], second["layer_holders"]) == ([0, 0, 0], [1, 0, 1])
