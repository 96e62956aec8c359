"""Builds glyphs.parquet and pretrain.parquet: python -m analysis.glyphs --fonts /usr/share/fonts --out DIR.

The fonts are those of the Debian packages in packages.txt, installed with apt.
"""

import argparse
from pathlib import Path

from rich.console import Console

from analysis.glyphs.build import benchmark_rows, pretrain_rows
from analysis.glyphs.fonts import find_fonts, read_packages
from analysis.image_rows import write


def main() -> None:
    """Build both files from the installed fonts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="folder of the installed fonts")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two Parquet files")
    parser.add_argument("--characters", type=int, default=500, help="classes of the pretraining set")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console()
    fonts = list(find_fonts(arguments.fonts))
    missing = {package.name for package in read_packages()} - {font.package.name for font in fonts}
    if missing:
        console.print(f"[yellow]{len(missing)} packages have no font here: {', '.join(sorted(missing))}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("glyphs", benchmark_rows(fonts, arguments.seed)),
        ("pretrain", pretrain_rows(fonts, arguments.seed, arguments.characters)),
    ):
        path = arguments.out / f"{name}.parquet"
        write(rows, path)
        console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
