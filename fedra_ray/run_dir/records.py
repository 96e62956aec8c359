"""What a run writes down: Parquet tables that any tool reads."""

import io
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fedra_ray.config.errors import ClientLostError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.messages import ClientReport, Score
from fedra_ray.run_dir.folder import Folder

if TYPE_CHECKING:  # torch comes with it, which reading a table does not need
    from fedra_ray.federation.partial_round import PartialRound

#: Tables of a run. Seconds are wall time; bytes are those of adapter values sent to and from clients. `simulated_s` is
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


@dataclass
class Missing:
    """The clients of a cohort whose updates are not in the average, and why.

    Attributes:
        dropped: Those that did not answer, or failed on every attempt.
        late: Those that answered after the deadline.
        rejected: Those whose updates were not to be believed, with the reason.
    """

    dropped: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)

    def note(self, part: "PartialRound", config: ExperimentConfig) -> None:
        """Take in who is missing from a part of the round.

        Raises:
            ClientLostError: for a client that failed on every attempt, unless the configuration says to drop it.
        """
        for failure in part.failures:
            task = failure.task
            if config.on_client_failure == "fail":
                raise ClientLostError(task.round, [task.client], config.runtime.max_attempts, failure.error.strip())
            self.dropped.append(task.client)
        self.rejected |= part.rejected

    def clients(self) -> list[int]:
        """All of them."""
        return [*self.dropped, *self.late, *self.rejected]


class Records:
    """The tables of one run directory, rewritten whole by `save`, each by an atomic replacement."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._rows: dict[str, list[Row]] = {name: [] for name in SCHEMAS}

    def add_client(self, report: ClientReport, domain: str, depth: int, simulated_s: float | None = None) -> Row:
        """Note one client's part in a round, and return the row."""
        row = {
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
        }
        self._rows["clients"].append(row)
        self._add_skipped(report.task.round, report.skipped)
        return row

    def add_round(
        self,
        number: int,
        seconds: float,
        num_layers: int,
        clients: list[Row],
        missing: Missing,
        simulated_s: float | None = None,
    ) -> Row:
        """Note a finished round from the rows of its averaged clients, and those that are missing from the average.

        Returns the row; its loss is not a number if there is no client.
        """
        clients = sorted(clients, key=lambda row: row["client"])
        loss = sum(row["loss"] for row in clients) / len(clients) if clients else math.nan
        holders = Counter(chain.from_iterable(row["layers"] for row in clients))
        row = {
            "round": number,
            "seconds": seconds,
            "cohort": sorted([row["client"] for row in clients] + missing.clients()),
            "layer_holders": [holders[layer] for layer in range(num_layers)],
            "train_loss": float(loss),
            "bytes_up": sum(row["bytes_up"] for row in clients),
            "bytes_down": sum(row["bytes_down"] for row in clients),
            "rejected": sorted(missing.rejected),
            "dropped": sorted(missing.dropped),
            "late": sorted(missing.late),
            "simulated_s": simulated_s,
        }
        self._rows["rounds"].append(row)
        return row

    def add_scores(self, number: int, scores: Iterable[Score]) -> None:
        """Note an evaluation after a round."""
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
