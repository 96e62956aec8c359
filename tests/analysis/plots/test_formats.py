"""Every format prints the same table, whatever its names hold."""

import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.plots.formats import FORMATS, MEAN, Row, Table

ROWS = [
    Row("d", "b", "test", "fedra", "paper", "iid", 40, 2, {"real": 75.0, MEAN: 57.5}, {"real": 7.0711, MEAN: 3.5355}),
    Row("d", "b", "test", "fedra", "paper", "", None, None, {MEAN: 60.0}, difference=-2.5, source="Paper, 5%"),
]
TABLE = Table("d, b: test", ["real", MEAN], ROWS)


def test_text_lines_up_with_a_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = FORMATS["text"]([TABLE]).splitlines()
    (measured,) = [line.split() for line in lines if "measured" in line]
    (published,) = [line.split() for line in lines if "Paper" in line]
    assert measured == ["fedra", "paper", "iid", "40", "2", "75.00", "±", "7.07", "57.50", "±", "3.54", "measured"]
    assert published == ["fedra", "paper", "60.00", "-2.50", "Paper,", "5%"]


def test_text_loses_nothing_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = FORMATS["text"]([replace(TABLE, rows=[replace(ROWS[0], source="2311.11227" * 3)])]).splitlines()
    assert "…" not in "".join(lines)


def test_markdown() -> None:
    title, blank, *lines = FORMATS["markdown"]([TABLE]).splitlines()
    assert (title, blank) == ("d, b: test", "")
    header, rule, measured, published = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert header == ["method", "fleet", "partition", "rounds", "runs", "real", "mean", "difference", "source"]
    assert [cell[0] + cell[-1] for cell in rule] == [":-"] * 3 + ["-:"] * 5 + [":-"]
    assert measured == ["fedra", "paper", "iid", "40", "2", "75.00 ± 7.07", "57.50 ± 3.54", "", "measured"]
    assert published == ["fedra", "paper", "", "", "", "", "60.00", "-2.50", "Paper, 5%"]


def test_markdown_escapes_the_names_of_its_columns() -> None:
    table = replace(TABLE, columns=["web_photo", MEAN], rows=[replace(ROWS[0], accuracy={"web_photo": 75.0})])
    assert r" web\_photo |" in FORMATS["markdown"]([table])


def test_latex() -> None:
    assert FORMATS["latex"]([TABLE]).splitlines() == [
        "% d, b: test",
        r"\begin{tabular}{lllrrrrrl}",
        r"\toprule",
        r"method & fleet & partition & rounds & runs & real & mean & difference & source \\",
        r"\midrule",
        r"fedra & paper & iid & 40 & 2 & 75.00 \(\pm\) 7.07 & 57.50 \(\pm\) 3.54 &  & measured \\",
        r"fedra & paper &  &  &  &  & 60.00 & -2.50 & Paper, 5\% \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_holds_unrounded_numbers() -> None:
    measured, published = csv.DictReader(io.StringIO(FORMATS["csv"]([TABLE])))
    assert (measured["real"], measured["real sd"], measured["runs"]) == ("75.0", "7.0711", "2")
    assert (published["mean"], published["difference"], published["source"]) == ("60.0", "-2.5", "Paper, 5%")
    assert (published["real"], published["mean sd"]) == ("", "")


def test_a_column_without_content_is_not_printed() -> None:
    table = replace(TABLE, rows=[replace(ROWS[0], partition="")])
    header = FORMATS["markdown"]([table]).splitlines()[2]
    assert header.replace("|", " ").split() == ["method", "fleet", "rounds", "runs", "real", "mean", "source"]


def test_latex_escapes_what_means_something_to_it() -> None:
    row = replace(ROWS[0], method=r"a_b & 5% $x$ #1 {y} \z ~ ^")
    escaped = r"a\_b \& 5\% \$x\$ \#1 \{y\} \textbackslash z \textasciitilde \space \textasciicircum  & paper"
    assert FORMATS["latex"]([replace(TABLE, rows=[row])]).splitlines()[5].startswith(escaped)


@given(name=st.text("a_|\\*`<>[]", min_size=1))
def test_markdown_keeps_any_name_in_its_cell(name: str) -> None:
    line = FORMATS["markdown"]([replace(TABLE, rows=[replace(ROWS[0], method=name)])]).splitlines()[4]
    tokens = re.findall(r"\\.|[^\\]", line)
    assert tokens.count("|") == 9
    first = tokens[2 : tokens.index("|", 1)]
    assert "".join(token[-1] for token in first).rstrip() == name
    assert not {"*", "_", "`", "<", "["} & set(first)
