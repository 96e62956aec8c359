"""Submit a run or a sweep to a Ray cluster as a job.

What follows `--` is the job: run or sweep (run if neither is named), its options
and its settings, which are checked here before anything is sent. The job needs a
run_dir that outlives it: an absolute path that all nodes share, or a URI. A job
that was stopped is resumed by submitting it again.

  fedra-ray submit --wait -- run_dir=s3://bucket/runs/mine runtime.num_gpus=0.5
  fedra-ray submit -- sweep seed=0,1,2 run_dir=/shared/sweeps/mine
"""

from argparse import ArgumentParser, Namespace

from fedra_ray.cli import run, sweep
from fedra_ray.cli.arguments import Parser, declare, named
from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.command import quoted

OPERANDS = ("JOB", "after --: the verb of the job, run or sweep, and its settings")
_VERBS = {"run": run, "sweep": sweep}


def add_options(parser: ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--address", metavar="URL", help="cluster's dashboard, http://HOST:8265; default: RAY_API_SERVER_ADDRESS"
    )
    parser.add_argument("--wait", action="store_true", help="follow the log, and exit as the job does")
    parser.add_argument("--id", help="submission id; default: made from the time")
    parser.add_argument(
        "--working-dir", default=".", metavar="FOLDER", help="folder to upload; default: the current one"
    )
    parser.add_argument("--cpus", type=float, metavar="N", help="CPUs to reserve for the driver; default: none")
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="environment variable of the driver and all actors, or NAME with its value here",
    )
    parser.add_argument(
        "--copy",
        default="runs",
        metavar="FOLDER",
        help="where --wait copies the summaries to, and the table of a sweep; default: runs",
    )


def carry_out(job: list[str], options: Namespace) -> None:
    """Check the settings of the job as its verb will, and submit it."""
    from fedra_ray.runtime.submission import JobOptions, submit_job

    name, words = named(job)
    if name not in _VERBS:
        raise SettingError("verb", name, f"must be {' or '.join(_VERBS)}")
    verb, parser = _VERBS[name], Parser(f"fedra-ray submit -- {name}", add_help=False)
    declare(verb, parser)
    settings, chosen = parser.read(words)
    runs, folder = verb.composed(settings, chosen)
    run_dirs = [config.run_dir for config in runs]
    if any("${" in setting for setting in settings if setting.lstrip("+").startswith("run_dir=")):
        words = [*words, f"run_dir={quoted(folder or run_dirs[0])}"]  # as it is here, not as it would be there
    submit_job([name, *words], run_dirs, JobOptions(**vars(options), wait_s=runs[0].runtime.wait_s), folder)
