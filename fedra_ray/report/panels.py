"""Figures with their texts: a title, a caption, and a description for readers who do not see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedra_ray.report import figures
from fedra_ray.report.comparison import Group
from fedra_ray.report.facts import Facts
from fedra_ray.report.figures import MOST_CURVES, MOST_POINTS, MOST_SPANS, mean_accuracy, spans
from fedra_ray.report.wording import count, percent

_HATCHED = "Hatched where nobody did."
_NUMBERED = "Layers are numbered from 0, as in the records."


@dataclass(frozen=True)
class Panel:
    """A figure of a page.

    Attributes:
        title: Above it.
        svg: Markup with no names that are not escaped.
        told: What it shows, in words.
        caption: Below it.
    """

    title: str
    svg: Markup
    told: str
    caption: str


def curves(run: Facts) -> list[Panel]:
    """Accuracy and training loss of a run over its rounds."""
    rounds, means = mean_accuracy(run)
    told = (
        f"Mean accuracy goes from {percent(float(means[0]))} after round {rounds[0]:g} "
        f"to {percent(float(means[-1]))} after round {rounds[-1]:g}; the table has the last values of the domains."
        if len(rounds)
        else "The run was not evaluated."
    )
    first, last = (f"{run.losses[place]:.3f} in round {run.numbers[place]}" for place in (0, -1))
    return [
        Panel(
            "Accuracy",
            Markup(figures.accuracy(run)),
            told,
            f"Top-1 accuracy of the global model on each domain, and their mean.{_merged(len(rounds))}",
        ),
        Panel(
            "Training loss",
            Markup(figures.loss(run)),
            f"Training loss is {first} and {last}.",
            f"Mean loss of the clients that were averaged.{_merged(len(run.numbers))}",
        ),
    ]


def allocation(run: Facts) -> list[Panel]:
    """Who held which layer, by round and by client; none where nobody held any."""
    if not run.holders.any():
        return []
    rounds = len(run.numbers)
    held = run.holdings
    rows = len(run.holdings.names)
    span = spans(rounds, MOST_SPANS)
    merged = f" A column is the mean of {span} rounds." if span > 1 else ""
    means = run.holders.mean(axis=0)
    whose = (
        "Clients of one depth are one row, because there are many."
        if held.by_depth
        else "Each client with its domain and, in brackets, its depth."
    )
    return [
        Panel(
            "By round",
            Markup(figures.holders(run)),
            f"Heat map of {count(len(means), 'layer')} by {count(rounds, 'round')}: "
            f"on average {means.min():.1f} to {means.max():.1f} clients held a layer.",
            f"How many averaged clients held each layer in each round. {_HATCHED}{merged} {_NUMBERED}",
        ),
        Panel(
            "By depth" if held.by_depth else "By client",
            Markup(figures.shares(held)),
            f"Heat map of {rows} {'depths' if held.by_depth else 'clients'} by {count(len(means), 'layer')}: "
            f"shares of rounds from {percent(float(held.share.min()))} to {percent(float(held.share.max()))}.",
            f"Share of a client's rounds in which it held the layer. {_HATCHED} {whose}",
        ),
    ]


def curves_of(groups: Sequence[Group]) -> list[Panel]:
    """Mean accuracy and training loss of several runs."""
    drawn = groups[:MOST_CURVES]
    first = "" if len(drawn) == len(groups) else f" The first {MOST_CURVES} of {len(groups)} are drawn."
    alike = " Runs that differ only in their seed look alike." if any(len(group.runs) > 1 for group in drawn) else ""
    longest = max(len(run.numbers) for group in drawn for run in group.runs)
    evaluated = max(len(mean_accuracy(run)[0]) for group in drawn for run in group.runs)
    told = "; ".join(f"{group.label}: {percent(group.mean)}" for group in drawn)
    return [
        Panel(
            "Mean accuracy",
            Markup(figures.accuracies(drawn)),
            f"Mean accuracy over rounds. At the end: {told}.",
            f"Mean over domains of the global model's top-1 accuracy.{alike}{first}{_merged(evaluated)}",
        ),
        Panel(
            "Training loss",
            Markup(figures.losses(drawn)),
            "Training loss over rounds of the same runs.",
            "Mean loss of the clients that were averaged. Losses differ by method: compare shapes, not heights."
            + _merged(longest),
        ),
    ]


def coverage(groups: Sequence[Group]) -> list[Panel]:
    """How many clients per round held each layer, for several runs."""
    drawn = groups[: figures.MOST_ROWS]
    if not any(run.holders.any() for group in drawn for run in group.runs):
        return []
    first = "" if len(drawn) == len(groups) else f" The first {len(drawn)} of {len(groups)} are drawn."
    return [
        Panel(
            "Holders of each layer",
            Markup(figures.coverage(drawn)),
            f"Heat map of {count(len(drawn), 'experiment')} by layer; the sentences above name layers without holders.",
            f"Averaged clients that held the layer, a mean over rounds. {_HATCHED}{first} {_NUMBERED}",
        )
    ]


def _merged(points: int) -> str:
    span = spans(points, MOST_POINTS)
    return f" A point is the mean of {span}." if span > 1 else ""
