"""How all figures look: colours that colour-blind people tell apart, one size of type, PNG and SVG.

An SVG is drawn in INK on a transparent ground, and a page may give that colour another value (`themed`): so one figure
serves light and dark pages. Names from data are plain text: a dollar sign begins no formula.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Okabe and Ito, Color Universal Design (2008), without the yellow, which white paper swallows; their black is `INK`.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
SEQUENTIAL = "cividis"  # made for people with and without colour vision deficiency (Nuñez et al., 2018)
INK = "#1a1a1b"

_STYLE: Any = {
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "text.parse_math": False,
    "svg.fonttype": "none",  # text stays text: it can be found, copied, and read aloud
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Look:
    """How a series looks: its colour, its marker and its line, as Matplotlib names them."""

    colour: str
    marker: str = "o"
    line: str = "-"


def look(index: int, colours: Sequence[str] = (*COLOURS, INK)) -> Look:
    """The look of the series with this number (from 0), as distinct as possible from those before it.

    Series differ in colour and marker and, once the colours repeat, in the line.

    Args:
        index: Number of the series.
        colours: The colours in turn; `COLOURS` leaves ink to other marks, such as means.
    """
    turn, place = divmod(index, len(colours))
    return Look(colours[place], MARKERS[index % len(MARKERS)], LINES[turn % len(LINES)])


@contextmanager
def drawing(width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure and its axes, row by row, all in the style of this module.

    Whatever is drawn inside has that style; `png` and `svg` may be called after it.

    Args:
        width: Width of the figure in inches.
        height: Height of the figure in inches.
        rows: Rows of axes.
        columns: Columns of axes.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False).ravel().tolist()


def png(figure: Figure) -> bytes:
    """The figure on white, at 150 dots per inch."""
    return _saved(figure, "png", dpi=150, facecolor="white")


def svg(figure: Figure, salt: str = "figure") -> bytes:
    """The figure on a transparent ground; the same bytes every time. Figures of one page need different salts."""
    return _saved(figure, "svg", salt=salt, metadata={"Date": None, "Creator": None})


def themed(drawn: bytes) -> str:
    """An SVG to put into a page: without the XML declaration, and with the page's text colour for ink."""
    text = drawn.decode()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _saved(figure: Figure, form: str, salt: str = "", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure.savefig(buffer, format=form, **options)
    return buffer.getvalue()
