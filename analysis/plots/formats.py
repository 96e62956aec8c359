"""A table of accuracies as text, Markdown, LaTeX or CSV."""

import io
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

MEAN = "mean"
MEASURED = "measured"


@dataclass(frozen=True)
class Row:
    """A row of a table; accuracies and their sample standard deviations in percent, by domain and `mean`.

    `regime` says how clients hold the blocks that they do not train (absent, frozen or streamed), `memory_mb` what the
    one that needs most has to have for its training, in 10^6 bytes.
    """

    dataset: str
    backbone: str
    split: str
    method: str
    fleet: str
    partition: str
    rounds: int | None
    runs: int | None
    accuracy: dict[str, float]
    deviation: dict[str, float] = field(default_factory=dict)
    difference: float | None = None
    source: str = MEASURED
    regime: str = ""
    memory_mb: float | None = None


@dataclass(frozen=True)
class Table:
    """Methods x `columns`: the domains of one data set and their mean."""

    title: str
    columns: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Column:
    """A printed column, a cell for every row of the table."""

    name: str
    cells: list[str]
    is_number: bool = True


def text(tables: Sequence[Table]) -> str:
    """Tables as wide as the terminal, or as they need to be where there is none."""
    console = Console(file=io.StringIO(), width=shutil.get_terminal_size((1000, 1)).columns)
    for table in tables:
        grid = Grid(title=Text(table.title), title_justify="left", box=box.SIMPLE)
        columns = _columns(table)
        for column in columns:
            grid.add_column(Text(column.name), justify="right" if column.is_number else "left", overflow="fold")
        for index, row in enumerate(table.rows):
            if row.source == MEASURED:
                grid.add_section()
            grid.add_row(*(Text(column.cells[index]) for column in columns))
        console.print(grid)
    return console.file.getvalue()  # type: ignore[attr-defined]


def markdown(tables: Sequence[Table]) -> str:
    """Tables in GitHub's Markdown, each below its title."""
    blocks = []
    for table in tables:
        columns = _columns(table)
        cells = _frame(columns).map(_escaped).rename(columns=_escaped)
        alignment = ["right" if column.is_number else "left" for column in columns]
        grid = cells.to_markdown(index=False, tablefmt="pipe", colalign=alignment, disable_numparse=True)
        blocks.append(f"{table.title}\n\n{grid}\n")
    return "\n".join(blocks)


def latex(tables: Sequence[Table]) -> str:
    """For each table its title as a comment and a tabular, for the package booktabs."""
    blocks = []
    for table in tables:
        columns = _columns(table)
        alignment = "".join("r" if column.is_number else "l" for column in columns)
        tabular = _frame(columns).to_latex(index=False, escape=True, column_format=alignment)
        blocks.append(f"% {table.title}\n" + tabular.replace("±", r"\(\pm\)"))
    return "\n".join(blocks)


def comma_separated(tables: Sequence[Table]) -> str:
    """All tables as one, with unrounded numbers and a column of its own for each standard deviation."""
    records = []
    for row in (row for table in tables for row in table.rows):
        record = vars(row) | row.accuracy | {f"{name} sd": value for name, value in row.deviation.items()}
        records.append({name: value for name, value in record.items() if name not in ("accuracy", "deviation")})
    # As objects, so that integers stay integers in columns where some are missing.
    return str(pd.DataFrame(records, dtype=object).to_csv(index=False, lineterminator="\n"))


FORMATS = {"text": text, "markdown": markdown, "latex": latex, "csv": comma_separated}


def _columns(table: Table) -> list[Column]:
    """What is printed of a table: the columns that hold anything."""
    rows = table.rows
    columns = [
        Column("method", [row.method for row in rows], is_number=False),
        Column("fleet", [row.fleet for row in rows], is_number=False),
        Column("regime", [row.regime for row in rows], is_number=False),
        Column("memory, MB", [_number(row.memory_mb, ".0f") for row in rows]),
        Column("partition", [row.partition for row in rows], is_number=False),
        Column("rounds", [_number(row.rounds, "d") for row in rows]),
        Column("runs", [_number(row.runs, "d") for row in rows]),
        *(Column(name, [_accuracy(row, name) for row in rows]) for name in table.columns),
        Column("difference", [_number(row.difference, "+.2f") for row in rows]),
        Column("source", [row.source for row in rows], is_number=False),
    ]
    return [column for column in columns if any(column.cells)]


def _frame(columns: Sequence[Column]) -> pd.DataFrame:
    """The printed cells; two columns may have the same name."""
    frame = pd.DataFrame(dict(enumerate(column.cells for column in columns)))
    return frame.set_axis([column.name for column in columns], axis="columns")


def _escaped(cell: str) -> str:
    """A cell in which no character means anything to Markdown."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", cell)


def _accuracy(row: Row, name: str) -> str:
    numbers = _number(row.accuracy.get(name), ".2f"), _number(row.deviation.get(name), ".2f")
    return " ± ".join(filter(None, numbers))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
