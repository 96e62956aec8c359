"""Draw the README's pictures: what the domains of an embedded data set look like, and what a study measured on them.

python -m analysis.study.picture --study studies/glyph_vit --out docs/benchmark.png
python -m analysis.study.picture --data artwork --out docs/artwork.png
"""

import argparse
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from PIL import Image

from fedra_ray.config.paths import resolve

CLASSES = 12


def montage(table: pa.Table) -> tuple[list[str], np.ndarray]:
    """Names of the domains and one picture: one row per domain, one column per class, the first test image of each."""
    rows = [row for row in table.to_pylist() if row["split"] == "test"]
    domains = sorted({row["domain"] for row in rows})
    labels = np.unique([row["label"] for row in rows])
    chosen = labels[np.linspace(0, len(labels) - 1, CLASSES).astype(int)]
    first = {(row["domain"], row["label"]): row["image"] for row in reversed(rows)}
    strips = [
        np.concatenate([np.asarray(Image.open(io.BytesIO(first[domain, label]))) for label in chosen], axis=1)
        for domain in domains
    ]
    return domains, np.concatenate(strips)


def draw_domains(axes: Axes, domains: list[str], picture: np.ndarray) -> None:
    """The montage, with the domains' names beside its rows."""
    axes.imshow(picture, interpolation="nearest")
    height = picture.shape[0] / len(domains)
    axes.set_yticks([height * (index + 0.5) for index in range(len(domains))], domains)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title("the six domains", loc="left")


def draw_results(axes: Axes, results: pa.Table) -> None:
    """Mean test accuracy of every method, with each seed as a dot."""
    rows = results.to_pylist()
    methods = list(dict.fromkeys(row["method"] for row in rows))[::-1]
    for position, method in enumerate(methods):
        values = [100 * row["mean"] for row in rows if row["method"] == method]
        colour = "#d55e00" if method == "FedRA" else "#0072b2"
        axes.barh(position, np.mean(values), color=colour, alpha=0.75, height=0.7)
        axes.plot(values, [position] * len(values), "o", color="black", markersize=3)
        axes.text(1, position, f"{np.mean(values):.1f}", va="center", color="white", fontweight="bold")
    axes.set_yticks(range(len(methods)), methods)
    axes.set_xlabel("test accuracy, mean over domains (%)")
    axes.set_title("methods", loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw the picture of a finished study."""
    parser = argparse.ArgumentParser(prog="python -m analysis.study.picture", description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("glyphs", "artwork"), default="glyphs", help="the embedded data set")
    parser.add_argument("--study", type=Path, help="folder of analysis.study on it; without one, the domains alone")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmark.png"), help="the PNG file to write")
    arguments = parser.parse_args()
    domains = montage(pq.read_table(resolve(f"asset://{arguments.data}.parquet")))
    if arguments.study:
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), width_ratios=(12, 8), layout="constrained")
        draw_results(right, pq.read_table(arguments.study / "results.parquet"))
    else:
        figure, left = plt.subplots(figsize=(6.6, 3.2), layout="constrained")
    draw_domains(left, *domains)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
