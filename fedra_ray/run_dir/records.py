"""What a run writes down: Parquet tables that any tool reads."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fedra_ray.federation.allocation import DrawnRound
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.messages import ClientReport, Score
from fedra_ray.federation.metrics import metrics
from fedra_ray.federation.reports import RoundReport
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.parts import Parts, from_parquet

#: Tables of a run. Seconds are wall time; bytes are those of adapter values sent to and from clients, but
#: `bytes_fetched` those of frozen weights that clients download before they train, by `fleet.storage`. `simulated_s` is
#: the time on simulated devices, in seconds: null unless `fleet.devices` names some. `macro_f1` and `matthews` are null
#: where answers to prompts are evaluated, whose tokens are the examples then, and `exact_match` is null elsewhere.
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
            "macro_f1": pa.float64(),
            "matthews": pa.float64(),
            "exact_match": pa.float64(),
        }
    ),
}

#: A round as a row: what it adds to every table.
_ROUND = pa.schema({"round": pa.int32(), **{name: pa.list_(pa.struct(schema)) for name, schema in SCHEMAS.items()}})
_LOOKS = 5  # at a folder whose files a run at work may replace meanwhile

Row = dict[str, Any]


class Records:
    """The tables of one run directory: `save` appends the rounds since the last one, and `finish` makes the tables.

    Of a long run only the rounds since the last save, and the names of skipped images, are in memory.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._parts = Parts(folder)
        self._noted: list[Row] = []
        self._skipped: set[str] = set()

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
        averaged = sorted(clients, key=lambda client: client.task.client)
        rows = []
        for client in averaged:
            number = client.task.client
            rows.append(_client_row(client, fleet.domain(number), depths[number], simulated.get(number)))
        skipped = dict(chain(*(client.skipped for client in averaged), *(score.skipped for score in report.scores)))
        self._noted.append(
            {
                "round": report.round,
                "rounds": [_round_row(report)],
                "clients": rows,
                "skipped": self._first_skipped(report.round, skipped),
                "evaluations": [_score_row(report.round, score) for score in report.scores],
            }
        )

    def _first_skipped(self, number: int, skipped: Mapping[str, str]) -> list[Row]:
        """Images that were left out, each once, in the round in which that was first noticed."""
        images = sorted(skipped.keys() - self._skipped)
        self._skipped.update(images)
        return [{"round": number, "image": image, "error": skipped[image]} for image in images]

    def save(self) -> None:
        """Write down the rounds that were noted since the last save; another thread may note one meanwhile."""
        noted = self._noted.copy()
        if noted:
            self._parts.append(pa.Table.from_pylist(noted, schema=_ROUND))
            del self._noted[: len(noted)]

    def finish(self) -> None:
        """Turn all that was saved into the tables of a finished run."""
        self.save()
        for name, schema in SCHEMAS.items():
            sink = pa.BufferOutputStream()
            with pq.ParquetWriter(sink, schema) as writer:
                for rounds in self._parts.read([name]):
                    writer.write_table(_unfolded(rounds, name))
            self._folder.write(f"{name}.parquet", sink.getvalue().to_pybytes())
        self._parts.clear()

    def restore(self, last_round: int) -> None:
        """Go back to a round: what an interrupted run has noted after it is dropped."""
        self._noted = []
        names = set(self._folder.names())
        tables = {name: f"{name}.parquet" for name in SCHEMAS}
        if names.issuperset(tables.values()):  # only then are all parts in them
            self._reopen(last_round)
        for file in names.intersection(tables.values()):
            self._folder.delete(file)
        self._parts.cut(last_round)
        images = [_unfolded(rounds, "skipped")["image"].to_pylist() for rounds in self._parts.read(["skipped"])]
        self._skipped = set(chain(*images))

    def _reopen(self, last_round: int) -> None:
        """Turn the tables of a run that had come to its last round back into what `save` writes."""
        noted: dict[int, Row] = {}
        for name in SCHEMAS:
            rows = read_table(self._folder, name).to_pylist()
            for number, added in groupby(rows, key=itemgetter("round")):
                noted.setdefault(number, {"round": number})[name] = list(added)
        kept = [noted[number] for number in sorted(noted) if number <= last_round]
        self._parts.clear()
        if kept:
            self._parts.append(pa.Table.from_pylist(kept, schema=_ROUND))


def _round_row(report: RoundReport) -> Row:
    return {
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


def _client_row(report: ClientReport, domain: str, depth: int, simulated_s: float | None) -> Row:
    return {
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


def _score_row(number: int, score: Score) -> Row:
    others = metrics(score)
    return {
        "round": number,
        "domain": score.domain,
        "split": score.split,
        "examples": score.examples,
        "top1": score.top1 / score.examples,
        "top5": score.top5 / score.examples,
        "loss": score.loss,
        **{name: others.get(name) for name in ("macro_f1", "matthews", "exact_match")},
    }


def times(clients: Iterable[list[int]]) -> dict[str, int]:
    """How often each client is named in a column of rounds, in the order of clients."""
    return {str(client): count for client, count in sorted(Counter(chain(*clients)).items())}


def hours(seconds: Iterable[float | None]) -> float | None:
    """The sum of simulated seconds in hours; None if no round was simulated on devices."""
    known = [each for each in seconds if each is not None]
    return sum(known) / 3600 if known else None


def read_table(folder: Folder, name: str, columns: list[str] | None = None) -> pa.Table:
    """The table NAME of a run, finished or not, or columns of it, which then have the types of `SCHEMAS`.

    Raises:
        FileNotFoundError: if nothing was saved yet.
        LookupError, pa.ArrowException: if it lacks a column, or has one of another type.
    """
    for _ in range(_LOOKS):
        content = folder.read(f"{name}.parquet")
        if content is not None:
            return _typed(from_parquet(content, columns), name, columns)
        try:
            parts = [_unfolded(rounds, name) for rounds in Parts(folder).read([name])]
        except FileNotFoundError:  # replaced while it was looked for
            continue
        if parts:
            return _typed(pa.concat_tables(parts), name, columns)
    raise FileNotFoundError(f"{folder}/{name}.parquet")


def has_table(folder: Folder, name: str) -> bool:
    """Whether `read_table` would have something to read."""
    return folder.read(f"{name}.parquet") is not None or Parts(folder).any


def _typed(table: pa.Table, name: str, columns: list[str] | None) -> pa.Table:
    """The columns of a table with the types of `SCHEMAS`; the table as it is if none are named."""
    if columns is None:
        return table
    return table.select(columns).cast(pa.schema([SCHEMAS[name].field(column) for column in columns]))


def _unfolded(rounds: pa.Table, name: str) -> pa.Table:
    """What rounds add to a table."""
    rows = rounds[name].combine_chunks().flatten()
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(rows)]).cast(SCHEMAS[name])
