"""Every table and figure of a study, from its finished runs.

    python -m analysis.study.album [--study studies/glyph_vit]

`make study` ends with it. Into STUDY/figures go the results (methods x domains, as Markdown, LaTeX and CSV; progress,
fairness), the allocation (balance), feature imbalance (imbalance, probes, similarity, updates, embedding), additivity,
drift, convergence and extreme fleets; analysis/FINDINGS.md says what they show. Unfinished runs are left out, and
questions of stages that were not run.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from analysis.plots.formats import FORMATS
from analysis.questions import (
    additivity,
    balance,
    convergence,
    drift,
    embedding,
    extreme,
    fairness,
    imbalance,
    probes,
    progress,
    similarity,
    table,
    updates,
)
from analysis.runs.reading import finished

#: The methods that are analysed layer by layer: FedRA, the depth-wise methods, and their upper bound.
LAYERED = ("alllarge", "fedra", "inclusivefl", "depthfl")
#: Questions, and the runs of the study that answer them, by folder and the start of a name.
PLATES: list[tuple[Callable[[list[str]], int], dict[str, tuple[str, ...]]]] = [
    (progress.main, {"test": ("",)}),
    (fairness.main, {"test": ("",)}),
    (balance.main, {"test": LAYERED}),
    (extreme.main, {"extreme": ("",), "convergence": ("uniform-paper",)}),  # all of as many rounds
    (convergence.main, {"convergence": ("",)}),
    (imbalance.main, {"test": LAYERED}),
    (probes.main, {"test": ("fedra-0", "inclusivefl-0", "depthfl-0")}),
    (similarity.main, {"test": ("fedra-0", "inclusivefl-0", "depthfl-0")}),
    (updates.main, {"test": LAYERED}),
    (embedding.main, {"test": ("fedra-0", "inclusivefl-0")}),
    (additivity.main, {"test": ("fedra-",)}),
    (drift.main, {"test": ("alllarge-", "fedra-", "inclusivefl-")}),
]


def of_study(study: Path, wanted: dict[str, tuple[str, ...]]) -> list[str]:
    """Run directories of a study, in order.

    Args:
        study: The folder of the study.
        wanted: Folders in it, and the starts of the wanted names.
    """
    return [
        str(path)
        for folder, starts in wanted.items()
        for path in sorted((study / folder).glob("*"))
        if path.name.startswith(starts) and "no-distillation" not in path.name
    ]


def tabulate(study: Path, out: Path) -> None:
    """Methods x domains beside the published figures, in every format."""
    runs = finished(of_study(study, {"test": ("",)}), table.read_run)
    out.mkdir(parents=True, exist_ok=True)
    for name, ending in (("markdown", "md"), ("latex", "tex"), ("csv", "csv"), ("text", "txt")):
        (out / f"methods.{ending}").write_text(FORMATS[name](table.tabulate(runs)), encoding="utf-8")


def fill(study: Path) -> int:
    """Answer every question; returns 0, or the largest exit code of one that failed."""
    out = study / "figures"
    codes = [0]
    console = Console()
    if of_study(study, {"test": ("",)}):
        tabulate(study, out)
    for plate, wanted in PLATES:
        runs = of_study(study, wanted)
        if not runs:
            continue
        with console.status(plate.__module__):
            codes.append(plate([*runs, "--out", str(out)]))
        console.print(f"{plate.__module__}: {'done' if not codes[-1] else 'failed'}")
    return max(codes)


def main() -> int:
    """Draw what a finished study shows; returns the exit code of `fill`."""
    parser = argparse.ArgumentParser(prog="python -m analysis.study.album", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--study", type=Path, default=Path("studies/glyph_vit"), help="its folder (%(default)s)")
    return fill(parser.parse_args().study)


if __name__ == "__main__":
    sys.exit(main())
