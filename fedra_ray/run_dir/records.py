"""What a run writes down: Parquet tables that any tool reads."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fedra_ray.federation.allocation import DrawnRound
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.messages import ClientReport, Score
from fedra_ray.federation.reports import RoundReport
from fedra_ray.run_dir.folder import Folder

#: Tables of a run. Seconds are wall time; bytes are those of adapter values sent to and from clients, but
#: `bytes_fetched` those of frozen weights that clients download before they train, by `fleet.storage`. `simulated_s` is
#: the time on simulated devices, in seconds: null unless `fleet.devices` names some.
SCHEMAS = {
    "rounds": pa.schema(
        {
            "round": pa.int32(),
            "seconds": pa.float64(),
            "cohort": pa.list_(pa.int32()),
            "layer_holders": pa.list_(pa.int32()),
            "train_loss": pa.float64(),
            "bytes_up": pa.int64(),
            "bytes_down": pa.int64(),
            "rejected": pa.list_(pa.int32()),
            "dropped": pa.list_(pa.int32()),
            "late": pa.list_(pa.int32()),
            "simulated_s": pa.float64(),
            "bytes_fetched": pa.int64(),
        }
    ),
    "clients": pa.schema(
        {
            "round": pa.int32(),
            "client": pa.int32(),
            "domain": pa.string(),
            "depth": pa.int32(),
            "layers": pa.list_(pa.int32()),
            "examples": pa.int64(),
            "steps": pa.int32(),
            "loss": pa.float64(),
            "seconds": pa.float64(),
            "bytes_up": pa.int64(),
            "bytes_down": pa.int64(),
            "slot": pa.int32(),
            "attempt": pa.int32(),
            "simulated_s": pa.float64(),
            "bytes_fetched": pa.int64(),
        }
    ),
    "skipped": pa.schema(
        {
            "round": pa.int32(),
            "image": pa.string(),
            "error": pa.string(),
        }
    ),
    "evaluations": pa.schema(
        {
            "round": pa.int32(),
            "domain": pa.string(),
            "split": pa.string(),
            "examples": pa.int64(),
            "top1": pa.float64(),
            "top5": pa.float64(),
            "loss": pa.float64(),
        }
    ),
}

Row = dict[str, Any]


class Records:
    """The tables of one run directory, rewritten whole by `save`, each by an atomic replacement."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._rows: dict[str, list[Row]] = {name: [] for name in SCHEMAS}

    def add(
        self,
        report: RoundReport,
        clients: Sequence[ClientReport],
        drawn: DrawnRound,
        fleet: Fleet,
        simulated: Mapping[int, float],
    ) -> None:
        """Note a finished round.

        Args:
            report: The round.
            clients: Its averaged clients.
            drawn: Says which depth a client of the cohort had.
            fleet: Says which domain a client belongs to.
            simulated: Seconds on the clients' simulated devices, by client; empty without them.
        """
        depths = dict(zip(drawn.cohort, drawn.depths, strict=True))
        for client in clients:
            number = client.task.client
            self._add_client(client, fleet.domain(number), depths[number], simulated.get(number))
        self._rows["rounds"].append(
            {
                "round": report.round,
                "seconds": report.seconds,
                "cohort": report.cohort,
                "layer_holders": report.layer_holders,
                "train_loss": report.loss,
                "bytes_up": report.bytes_up,
                "bytes_down": report.bytes_down,
                "rejected": sorted(report.missing.rejected),
                "dropped": sorted(report.missing.dropped),
                "late": sorted(report.missing.late),
                "simulated_s": report.simulated_s,
                "bytes_fetched": report.bytes_fetched,
            }
        )
        self._add_scores(report.round, report.scores)

    def _add_client(self, report: ClientReport, domain: str, depth: int, simulated_s: float | None) -> None:
        self._rows["clients"].append(
            {
                "round": report.task.round,
                "client": report.task.client,
                "domain": domain,
                "depth": depth,
                "layers": list(report.task.layers),
                "examples": report.examples,
                "steps": report.steps,
                "loss": report.loss,
                "seconds": report.seconds,
                "bytes_up": report.traffic,
                "bytes_down": report.traffic,
                "slot": report.slot,
                "attempt": report.attempt,
                "simulated_s": simulated_s,
                "bytes_fetched": report.task.fetched,
            }
        )
        self._add_skipped(report.task.round, report.skipped)

    def _add_scores(self, number: int, scores: Iterable[Score]) -> None:
        for score in scores:
            self._add_skipped(number, score.skipped)
            self._rows["evaluations"].append(
                {
                    "round": number,
                    "domain": score.domain,
                    "split": score.split,
                    "examples": score.examples,
                    "top1": score.top1 / score.examples,
                    "top5": score.top5 / score.examples,
                    "loss": score.loss,
                }
            )

    def _add_skipped(self, number: int, skipped: Iterable[tuple[str, str]]) -> None:
        """Note images that were left out, each once, in the round in which that was first noticed."""
        known = {row["image"] for row in self._rows["skipped"]}
        fresh = [(image, error) for image, error in skipped if image not in known]
        self._rows["skipped"] += [{"round": number, "image": image, "error": error} for image, error in fresh]

    def save(self) -> None:
        """Write every table."""
        for name, schema in SCHEMAS.items():
            rows = sorted(self._rows[name], key=lambda row: (row["round"], row.get("client", 0), row.get("image", "")))
            self._folder.write(f"{name}.parquet", to_parquet(pa.Table.from_pylist(rows, schema=schema)))

    def restore(self, last_round: int) -> None:
        """Take back the rows of an interrupted run up to a round."""
        for name in SCHEMAS:
            found = self._folder.read(f"{name}.parquet") is not None
            rows = read_table(self._folder, name).to_pylist() if found else []
            self._rows[name] = [row for row in rows if row["round"] <= last_round]


def times(clients: Iterable[list[int]]) -> dict[str, int]:
    """How often each client is named in a column of rounds, in the order of clients."""
    return {str(client): count for client, count in sorted(Counter(chain(*clients)).items())}


def hours(seconds: Iterable[float | None]) -> float | None:
    """The sum of simulated seconds in hours; None if no round was simulated on devices."""
    known = [each for each in seconds if each is not None]
    return sum(known) / 3600 if known else None


def to_parquet(table: pa.Table) -> bytes:
    """The table as the content of a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def read_table(folder: Folder, name: str, columns: list[str] | None = None) -> pa.Table:
    """The table NAME.parquet of a run, or columns of it, which then have the types of `SCHEMAS`.

    Raises:
        FileNotFoundError: if it is not there.
        LookupError, pa.ArrowException: if it lacks a column, or has one of another type.
    """
    content = folder.read(f"{name}.parquet")
    if content is None:
        raise FileNotFoundError(f"{folder}/{name}.parquet")
    found = pq.read_table(pa.BufferReader(content), columns=columns)
    if columns is None:
        return found
    return found.select(columns).cast(pa.schema([SCHEMAS[name].field(column) for column in columns]))
