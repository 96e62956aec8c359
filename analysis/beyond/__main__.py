"""Screen, without a federation, what helps clients that can train only a few of the blocks at once.

    python -m analysis.beyond surrogates cosines training costs [--dataset glyphs] [--backbone glyph_vit] [--seeds 0]

`surrogates`: linear maps in place of absent blocks; `cosines`: gradients that come through cheap stand-ins; `training`:
what short training makes of them; `costs`: FLOPs and memory by the cost law. Tables are CSV files in
OUT/DATASET-BACKBONE, one per part and seed, and are kept as they are found, so that the command goes on where it
was stopped; screening.png beside them shows the parts that were named.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from analysis.beyond import costs, gradients, surrogates, training
from analysis.beyond.central import Bench, bench
from analysis.beyond.screened import draw
from fedra_ray.cli.ending import exit_code
from fedra_ray.cost.law import CostModel
from fedra_ray.report.style import png

PARTS = ("surrogates", "cosines", "training", "costs")
#: A table's file name, and what makes it.
Making = tuple[str, Callable[[], pd.DataFrame]]


def makings(part: str, loaded: Bench, cost: CostModel, seeds: list[int], names: list[str]) -> Iterator[Making]:
    """All tables of a part."""
    for seed in seeds:
        if part == "surrogates":
            yield f"surrogates-{seed}", lambda seed=seed: surrogates.measure(loaded, seed)
        if part == "cosines":
            yield f"cosines-{seed}", lambda seed=seed: gradients.cosines(loaded, seed)
        if part == "training":
            for name in names:
                slug = name.replace(",", "").replace(" ", "-")
                yield f"training-{slug}-{seed}", lambda name=name, seed=seed: training.measure(loaded, name, seed)
    if part == "costs":
        yield "costs", lambda: costs.table(cost, costs.BATCH)


def kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table that was made before, or is made now."""
    if not path.is_file():
        part = path.with_suffix(".part")
        make().to_csv(part, index=False)
        part.replace(path)
    return pd.read_csv(path)


def leave(arguments: argparse.Namespace) -> None:
    """Make the tables that are missing, print all, and draw them."""
    torch.set_num_threads(1)
    out = arguments.out / f"{arguments.dataset}-{arguments.backbone}"
    out.mkdir(parents=True, exist_ok=True)
    loaded = bench(arguments.dataset, arguments.backbone)
    cost = costs.law(arguments.dataset, arguments.backbone)
    names = arguments.variants or list(training.variants(len(loaded.load().blocks)))
    found: dict[str, pd.DataFrame] = {}
    for part in arguments.parts:
        tables = makings(part, loaded, cost, arguments.seeds, names)
        found[part] = pd.concat([kept(out / f"{name}.csv", make) for name, make in tables], ignore_index=True)
        Console().print(found[part].round(3).to_markdown(index=False), soft_wrap=True)
    figure = draw(found)
    if figure is not None:
        (out / "screening.png").write_bytes(png(figure))


def main(given: list[str] | None = None) -> int:
    """Screen what the command line names; returns the exit code, as of the commands of `fedra_ray`."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.beyond", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--dataset", default="glyphs", help="of conf/dataset (default: %(default)s)")
    parser.add_argument("--backbone", default="glyph_vit", help="of conf/backbone (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="of `training` (default: all)")
    parser.add_argument("--out", type=Path, default=Path("beyond"), help="folder to write")
    return exit_code(lambda: leave(parser.parse_args(given)))


if __name__ == "__main__":
    sys.exit(main())
