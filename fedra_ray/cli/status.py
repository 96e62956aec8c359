"""Say where runs are, from their folders alone.

One run is described in a few lines, several in a table: rounds done and to go,
loss, accuracy, missing clients, and how to continue.

  fedra-ray status runs/* s3://bucket/runs/mine
"""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.claim import SETTING

OPERANDS = ("RUN_DIR", "folder of a run, a path or a URI of pyarrow.fs")


def add_options(parser: ArgumentParser) -> None:
    """Declare the options of the verb: it has none."""


def carry_out(run_dirs: list[str], options: Namespace) -> None:
    """Print where every run is.

    Raises:
        SettingError: after the others are printed, for all folders that hold no run or a damaged one.
    """
    from fedra_ray.run_dir.folder import Folder
    from fedra_ray.run_dir.status import where
    from fedra_ray.watch.status import show

    if not run_dirs:
        raise SettingError(SETTING, "", "name the folder of a run, or several")
    statuses, problems = [], []
    for run_dir in run_dirs:
        try:
            statuses.append(where(Folder(run_dir, SETTING)))
        except SettingError as error:
            problems.append(error)
    show(statuses, datetime.now(UTC))
    if problems:
        first, *others = problems
        setting, value, allowed = first.args
        raise SettingError(setting, value, "; ".join([allowed, *map(str, others)]))
