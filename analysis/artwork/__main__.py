"""Builds artwork.parquet and the drawings of the pre-training: python -m analysis.artwork --work DIR [--out FILE].

The packages of packages.yaml are fetched with `npm pack` into DIR, where they stay. Needs `pip install '.[data]'`.
"""

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console

from analysis.artwork import build, pretraining
from analysis.artwork.packages import fetch, read_packages
from analysis.image_rows import write

ASSET = Path(__file__).parents[2] / "fedra_ray" / "assets" / "artwork.parquet"


def main() -> None:
    """Fetch what is missing and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and the pre-training's drawings")
    parser.add_argument("--out", type=Path, default=ASSET, help="the benchmark's file")
    parser.add_argument("--most", type=int, default=1000, help="most drawings of one set in the pre-training")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console()
    packages = read_packages()
    archives = {name: fetch(package, arguments.work) for name, package in packages.items()}
    rows = build.benchmark_rows(build.Drawings(packages, archives, arguments.seed), arguments.seed)
    write(rows, arguments.out)
    counts = Counter(row[4] for row in rows)
    console.print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB, {dict(counts)}")
    path = arguments.work / "pretraining.parquet"
    if not path.is_file():
        drawings = pretraining.rows(archives, arguments.most, arguments.seed)
        console.print(f"{path}: {pretraining.write(drawings, path)} drawings")


if __name__ == "__main__":
    main()
