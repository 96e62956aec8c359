import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support import note_round

from fedra_ray.federation.messages import ClientReport, ClientTask, Score
from fedra_ray.federation.reports import Missing
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import SCHEMAS, Records, has_table, read_table


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
    table = read_table(Folder(folder), name)
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
    score |= {"macro_f1": None, "matthews": None, "exact_match": None}
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
    Records(Folder(tmp_path)).finish()
    assert {name: read(tmp_path, name) for name in SCHEMAS} == {name: [] for name in SCHEMAS}


def test_a_finished_run_leaves_its_tables_alone(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    add_round(records, 1, {0: 1.0})
    records.save()
    records.finish()
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
    records.finish()
    assert read(tmp_path, "rounds") == []


def test_before_the_first_save_there_is_no_table(tmp_path: Path) -> None:
    Records(Folder(tmp_path)).save()
    assert not has_table(Folder(tmp_path), "rounds")
    with pytest.raises(FileNotFoundError):
        read_table(Folder(tmp_path), "rounds")


def saved(folder: Path, rounds: int, every: int = 1) -> Records:
    """Records of a run that was killed after some rounds."""
    records = Records(Folder(folder))
    for number in range(1, rounds + 1):
        add_round(records, number, {0: float(number)}, scores=[Score("clipart", "test", 8, number % 8, 8, 0.5)])
        if number % every == 0:
            records.save()
    return records


def numbers(folder: Path) -> dict[str, list[object]]:
    return {name: [row["round"] for row in read(folder, name)] for name in ("rounds", "clients", "evaluations")}


def test_a_long_run_has_few_files_and_every_round_once(tmp_path: Path) -> None:
    saved(tmp_path, 120)
    assert sorted(path.name for path in (tmp_path / "records").iterdir())[:3] == [
        "000001-000050.parquet",
        "000051-000100.parquet",
        "000101-000101.parquet",
    ]
    assert set(map(tuple, numbers(tmp_path).values())) == {tuple(range(1, 121))}


def test_saving_writes_what_is_new_and_nothing_again(tmp_path: Path) -> None:
    records = saved(tmp_path, 4, every=2)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    add_round(records, 5, {0: 5.0})
    records.save()
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(list((tmp_path / "records").iterdir())) == len(files) + 1


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", [1, 2, 3, 27, 52, 53, 55, 57])  # the part, its merging, the tables, the end
def test_a_kill_at_any_change_of_a_file_loses_and_doubles_no_round(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = saved(tmp_path, 49)
    add_round(records, 50, {0: 50.0}, scores=[Score("clipart", "test", 8, 2, 8, 0.5)])
    left = itertools.count(step, -1)
    for name in ("write", "delete", "clear"):
        monkeypatch.setattr(Folder, name, killing(getattr(Folder, name), left))
    with contextlib.suppress(Killed):
        records.finish()
    monkeypatch.undo()
    before = 49 if step == 1 else 50
    assert set(map(tuple, numbers(tmp_path).values())) == {tuple(range(1, before + 1))}
    again = Records(Folder(tmp_path))
    again.restore(30)
    assert set(map(tuple, numbers(tmp_path).values())) == {tuple(range(1, 31))}
    add_round(again, 31, {0: 0.5}, scores=[Score("clipart", "test", 8, 1, 8, 0.5)])
    again.finish()
    assert set(map(tuple, numbers(tmp_path).values())) == {tuple(range(1, 32))}
    assert read(tmp_path, "clients")[-1]["loss"] == 0.5


def killing(change: Callable[..., None], left: Iterator[int]) -> Callable[..., None]:
    """A change of a folder in front of which the process ends once so many were made."""

    def changing(*arguments: object) -> None:
        if next(left) == 1:
            raise Killed
        change(*arguments)

    return changing


@pytest.mark.parametrize("step", range(1, 8))
def test_a_kill_while_going_back_loses_no_round(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 6, every=3).finish()
    left = itertools.count(step, -1)
    for name in ("write", "delete", "clear"):
        monkeypatch.setattr(Folder, name, killing(getattr(Folder, name), left))
    with contextlib.suppress(Killed):
        Records(Folder(tmp_path)).restore(4)
    monkeypatch.undo()
    again = Records(Folder(tmp_path))
    again.restore(4)
    again.finish()
    assert set(map(tuple, numbers(tmp_path).values())) == {(1, 2, 3, 4)}


def test_a_skipped_image_is_named_once_though_the_run_was_taken_up_again(tmp_path: Path) -> None:
    def skipping(records: Records, number: int, *images: str) -> None:
        score = Score("clipart", "test", 8, 2, 8, 0.5, tuple((image, "damaged") for image in images))
        add_round(records, number, {0: 1.0}, scores=[score])
        records.save()

    records = Records(Folder(tmp_path))
    skipping(records, 1, "b", "a", "b")
    skipping(records, 2, "a", "c")
    again = Records(Folder(tmp_path))
    again.restore(1)
    skipping(again, 2, "d", "b")
    assert [(row["round"], row["image"]) for row in read(tmp_path, "skipped")] == [(1, "a"), (1, "b"), (2, "d")]


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
