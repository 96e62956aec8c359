"""`fedra-ray report`: the page of runs that have finished."""

import argparse

from fedra_ray.report.facts import read
from fedra_ray.report.page import FILE, render
from fedra_ray.run_dir.claim import SETTING
from fedra_ray.run_dir.folder import Folder


def report(arguments: list[str]) -> None:
    """Write the page of the runs in some folders, and say where it is.

    Args:
        arguments: Of the command line: paths or URIs of run directories, and `--out` for a file.

    Raises:
        SettingError: for a folder without a finished run, or the same run twice.
        RunFailedError: if the page cannot be written.
    """
    parser = argparse.ArgumentParser(prog="fedra-ray report", usage="fedra-ray report RUN_DIR ... [--out report.html]")
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="folder of a finished run, local or a URI")
    parser.add_argument("--out", help=f"the page; default: {FILE} in the folder of a single run, or in this one")
    given = parser.parse_args(arguments)
    page = render([read(Folder(where, SETTING)) for where in given.runs])
    place = given.out or (f"{given.runs[0].rstrip('/')}/{FILE}" if len(given.runs) == 1 else FILE)
    folder, _, name = place.rpartition("/")
    Folder(folder or ("/" if place.startswith("/") else "."), "--out").write(name, page.encode())
    print(f"the report is {place}")
