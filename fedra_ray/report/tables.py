"""The tables of a page, and the numbers that stand alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedra_ray.config.units import duration, metric_name, metric_value, scaled
from fedra_ray.report.comparison import Group
from fedra_ray.report.facts import REASONS, Cost, Facts
from fedra_ray.report.wording import count, percent

_MOST_CLIENTS = 8  # that a note names


@dataclass(frozen=True)
class Row:
    """A row of a table: its head with a note below, its cells, and the share of the first one's bar, if it has one."""

    head: str
    cells: list[str]
    note: str = ""
    bar: float | None = None
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first of `columns` is that of the heads."""

    caption: str
    columns: list[str]
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Tile:
    """A number that stands alone, and a note below it."""

    name: str
    value: str
    note: str = ""


def by_domain(run: Facts) -> Table:
    """Accuracy of a run on every domain, with what else its last evaluation found."""
    last = {row["domain"]: row for row in run.scores}
    table = Table(
        f"The global model on the {run.split} split after {count(run.rounds, 'round')}",
        ["domain", "top-1 accuracy", "top-5", "loss", "examples", *map(metric_name, run.metrics)],
    )
    for domain, accuracy in run.accuracy.items():
        score = last.get(domain)
        others = [percent(score["top5"]), f"{score['loss']:.3f}", f"{score['examples']:,}"] if score else [""] * 3
        further = [metric_value(values.get(domain)) for values in run.metrics.values()]
        table.rows.append(Row(domain, [percent(accuracy), *others, *further], bar=accuracy))
    means = [metric_value(run.mean_metrics.get(name)) for name in run.metrics]
    table.rows.append(Row("mean", [percent(run.mean), "", "", "", *means], bar=run.mean, strong=True))
    return table


def by_run(groups: Sequence[Group]) -> Table:
    """Accuracy of every run, and the mean of runs that differ in their seed; empty cells for domains of other data."""
    domains = list(dict.fromkeys(domain for group in groups for run in group.runs for domain in run.accuracy))
    note = "; ± is the sample standard deviation over seeds" if any(len(group.runs) > 1 for group in groups) else ""
    table = Table(f"Top-1 accuracy of the global model after the last round{note}", ["run", "mean", *domains])
    for group in groups:
        apart = " ".join(setting for setting in group.apart if setting not in group.label)
        if len(group.runs) > 1:
            cells = [percent(group.mean), *(percent(group.accuracy(domain)) for domain in domains)]
            table.rows.append(Row(group.label, cells, apart, strong=True))
        for run in group.runs:
            cells = [percent(run.mean), *(percent(run.accuracy.get(domain)) for domain in domains)]
            if len(group.runs) > 1:
                table.rows.append(Row(f"seed {run.seed}", cells, run.where))
            else:
                table.rows.append(Row(group.label, cells, f"{apart} in {run.where}" if apart else run.where))
    return table


def tiles(cost: Cost) -> list[Tile]:
    """What a run took, one tile per number."""
    simulated = [] if cost.simulated_hours is None else [Tile("Simulated time", duration(3600 * cost.simulated_hours))]
    fetched = [] if cost.bytes_fetched is None else [Tile("Frozen weights to clients", scaled(cost.bytes_fetched, "B"))]
    return [
        Tile("Wall time of the rounds", duration(cost.seconds)),
        *simulated,
        Tile("Sent by clients", scaled(cost.bytes_up, "B")),
        Tile("Sent to clients", scaled(cost.bytes_down, "B")),
        *fetched,
        *(
            Tile(f"Updates {reason}", f"{sum(cost.missing[reason].values()):,}", _of(cost, reason))
            for reason in REASONS
        ),
        Tile("Images skipped", f"{cost.skipped:,}"),
    ]


def costs(groups: Sequence[Group]) -> Table:
    """What each of several runs took."""
    table = Table(
        "Wall and simulated time of the rounds, bytes of adapter values, updates not averaged, and images skipped",
        ["run", "wall time", "simulated", "sent by clients", "sent to clients", "frozen weights", *REASONS, "skipped"],
    )
    for group in groups:
        for run in group.runs:
            cost = run.cost
            cells = [
                duration(cost.seconds),
                "" if cost.simulated_hours is None else duration(3600 * cost.simulated_hours),
                scaled(cost.bytes_up, "B"),
                scaled(cost.bytes_down, "B"),
                "" if cost.bytes_fetched is None else scaled(cost.bytes_fetched, "B"),
                *(f"{sum(cost.missing[reason].values()):,}" for reason in REASONS),
                f"{cost.skipped:,}",
            ]
            table.rows.append(Row(group.name(run), cells))
    return table


def _of(cost: Cost, reason: str) -> str:
    """Whose updates were missing, those of most rounds first."""
    clients = sorted(cost.missing[reason].items(), key=lambda entry: -entry[1])
    named = ", ".join(client if times == 1 else f"{client} ({times})" for client, times in clients[:_MOST_CLIENTS])
    others = f" and {len(clients) - _MOST_CLIENTS:,} others" if len(clients) > _MOST_CLIENTS else ""
    return f"client{'s' if len(clients) > 1 else ''} {named}{others}" if clients else ""
