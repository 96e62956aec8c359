"""Write the page of one finished run, or one that compares several.

The page is a single HTML file that needs no network: accuracy, curves, who held
which layer, cost, configuration, and how to repeat each run. Runs that differ only
in their seed are averaged.

  fedra-ray report runs/mine
  fedra-ray report runs/fedra-* runs/depthfl-* --out comparison.html
"""

from argparse import ArgumentParser, Namespace

from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.claim import SETTING

OPERANDS = ("RUN_DIR", "folder of a finished run, a path or a URI of pyarrow.fs")


def add_options(parser: ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--out", metavar="FILE", help="the page; default: report.html in the folder of a single run, else in this one"
    )


def carry_out(run_dirs: list[str], options: Namespace) -> None:
    """Write the page, and say where it is.

    Raises:
        SettingError: for a folder without a finished run, or the same run twice.
        RunFailedError: if the page cannot be written.
    """
    from fedra_ray.report.facts import read
    from fedra_ray.report.page import FILE, render
    from fedra_ray.run_dir.folder import Folder, above, below

    if not run_dirs:
        raise SettingError(SETTING, "", "name the folder of a finished run, or several")
    page = render([read(Folder(run_dir, SETTING)) for run_dir in run_dirs])
    place = options.out or (below(run_dirs[0], FILE) if len(run_dirs) == 1 else FILE)
    folder, name = above(place)
    Folder(folder, "--out").write(name, page.encode())
    print(f"report written to {place}")
