"""Draw what a comparison of shallow fleets found: accuracy against the arithmetic of a client's step.

python -m analysis.beyond.picture --results beyond/artwork-artwork_vit --dataset artwork --backbone artwork_vit \
        --fleet extreme3 --out docs/beyond.png
"""

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.beyond.costs import law, table
from fedra_ray import compose
from fedra_ray.report.style import drawing, look, png

#: What is drawn: the name in the table of results, the one whose arithmetic it has, and its label. What has one label
#: is one method that spends more or less, and is joined by a line.
DRAWN = {
    "fedra": ("fedra", "FedRA"),
    "headonly": ("headonly", "head alone"),
    "suffix": ("suffix", "suffix"),
    "partial": ("partial", "Partial, a quarter and half of a batch"),
    "half": ("half", "Partial, a quarter and half of a batch"),
    "recomputed": ("partial", "AllLarge, recomputed, fewer images or all"),
    "recomputed_half": ("half", "AllLarge, recomputed, fewer images or all"),
    "alllarge": ("recomputed", "AllLarge, recomputed, fewer images or all"),
}
FAR = 15
"""Points below the best, from which on a method stands in the legend alone."""


def points(results: pd.DataFrame, costs: pd.DataFrame, fleet: str, depth: int) -> pd.DataFrame:
    """A row per method and seed on a fleet: its label, forward passes an image, and accuracy in percent.

    Args:
        results: results.csv of the comparison.
        costs: A table of `analysis.beyond.costs`.
        fleet: Of conf/fleet.
        depth: Blocks of its clients.
    """
    passes = costs[costs["depth"] == depth].set_index("method")["forward passes"]
    rows = results[results["fleet"].isin([fleet, "any"]) & results["method"].isin(list(DRAWN))]
    labels = [DRAWN[method][1] for method in rows["method"]]
    own = [passes[DRAWN[method][0]] for method in rows["method"]]
    return pd.DataFrame({"label": labels, "passes": own, "accuracy": rows["accuracy"].to_list()})


def draw(frame: pd.DataFrame, depth: int) -> Figure:
    """The mean of every method as a point, its seeds as dots, and names with means in a legend."""
    floor = frame.groupby(["label", "passes"])["accuracy"].mean().max() - FAR
    with drawing(6.8, 3.8) as (figure, (axes, *_)):
        for index, (label, rows) in enumerate(frame.groupby("label", sort=False)):
            _method(axes, str(label), rows, index, floor)
        axes.set_xlabel("forward passes of the whole model that a step takes, an image of a full batch")
        axes.set_ylabel("mean test accuracy, %")
        axes.set_title(f"clients of {depth} blocks")
        axes.set_xlim(0)
        axes.set_ylim(floor)
        axes.legend(loc="lower right")
    return figure


def _method(axes: Axes, label: str, rows: pd.DataFrame, index: int, floor: float) -> None:
    own = look(index)
    means = rows.groupby("passes")["accuracy"].mean()
    told = f"{label}: {', '.join(f'{mean:.1f}' for mean in means)}"
    if means.max() < floor:
        place = ", ".join(f"{passes:.2g}" for passes in means.index)
        axes.plot([], [], own.marker, color=own.colour, label=f"{told} (below, at {place})")
        return
    axes.plot(rows["passes"], rows["accuracy"], ".", color=own.colour, alpha=0.4)
    axes.plot(means.index, means, own.marker + "-", color=own.colour, markersize=7, linewidth=1, label=told)


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder that the comparison has written")
    parser.add_argument("--dataset", default="glyphs", help="of conf/dataset (default: %(default)s)")
    parser.add_argument("--backbone", default="glyph_vit", help="of conf/backbone (default: %(default)s)")
    parser.add_argument("--fleet", default="extreme3", help="of conf/fleet (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("beyond.png"), help="picture to write (default: %(default)s)")
    given = parser.parse_args()
    depth = min(compose(f"fleet={given.fleet}").fleet.depths)
    costs = table(law(given.dataset, given.backbone), batch_size=32)
    frame = points(pd.read_csv(given.results / "results.csv"), costs, given.fleet, depth)
    given.out.write_bytes(png(draw(frame, depth)))


if __name__ == "__main__":
    main()
