"""Submitting a run as a Ray job, with what people forget."""

import argparse
import asyncio
import logging
import os
import shlex
import sys
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.run_dir.claim import SUMMARY
from fedra_ray.run_dir.folder import Folder

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_POLL_SECONDS = 1.0
#: Besides what .rayignore names.
_EXCLUDES = [".git", ".venv", "runs", "sweeps", "multirun", "studies", "outputs", "tests"]
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of `fedra-ray submit`, and what follows `--`: the verb and settings of the job."""
    parser = argparse.ArgumentParser(
        prog="fedra-ray submit", usage="fedra-ray submit [OPTIONS] -- [VERB] SETTING=VALUE ..."
    )
    parser.add_argument(
        "--address", help="of the cluster's dashboard, http://HOST:8265; default: RAY_API_SERVER_ADDRESS"
    )
    parser.add_argument("--wait", action="store_true", help="follow the log, and exit as the job does")
    parser.add_argument("--id", help="submission id; default: made up from the time")
    parser.add_argument("--working-dir", default=".", help="folder that goes along; default: the current one")
    parser.add_argument("--cpus", type=float, help="CPUs reserved for the driver; default: it runs on the head node")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME[=VALUE]", help="for the driver and all actors"
    )
    parser.add_argument("--copy", default="runs", metavar="FOLDER", help="where copies of summaries go after --wait")
    own, entry = arguments, list[str]()
    if "--" in arguments:
        split = arguments.index("--")
        own, entry = arguments[:split], arguments[split + 1 :]
    return parser.parse_args(own), entry


def submit_job(options: argparse.Namespace, verb: str, overrides: list[str], run_dirs: list[str]) -> None:
    """Submit; with `--wait`, follow the log to the end.

    Args:
        options: Of `parse`.
        verb: run or sweep.
        overrides: Settings of the job.
        run_dirs: Where its runs go.

    Raises:
        SettingError: for a run directory that would end in the job's throw-away copy, or an address without a cluster.
        RunFailedError: if the job fails, or is stopped.
    """
    for run_dir in run_dirs:
        if "://" not in run_dir and not PurePosixPath(run_dir).is_absolute():
            raise SettingError(
                "run_dir", run_dir, "must be an absolute path that all nodes share, or a URI such as s3://"
            )
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)
    address = options.address or os.environ.get("RAY_API_SERVER_ADDRESS")
    try:
        client = JobSubmissionClient(address)
        name = client.submit_job(
            entrypoint=shlex.join(["python", "-m", "fedra_ray", verb, *overrides]),
            submission_id=options.id or time.strftime("fedra-ray-%Y%m%d-%H%M%S"),
            entrypoint_num_cpus=options.cpus,
            runtime_env=runtime_env(options.working_dir, options.env),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingError("--address", address, f"the job was not accepted: {reason}") from error
    print(f"submitted {name}; stop it with: ray job stop {name}", flush=True)
    if options.wait:
        _follow(client, name)
        for run_dir in run_dirs:
            _copy_summary(run_dir, Path(options.copy) / name)


def runtime_env(working_dir: str, environment: list[str]) -> dict[str, object]:
    """What the job's processes are given: the code, and environment variables, NAME alone being taken from here."""
    variables = dict(_ENVIRONMENT)
    for each in environment:
        name, separator, value = each.partition("=")
        if not separator and name not in os.environ:
            raise SettingError("--env", each, "is not set here; give NAME=VALUE")
        variables[name] = value if separator else os.environ[name]
    return {"working_dir": working_dir, "excludes": _EXCLUDES, "env_vars": variables}


def _follow(client: "JobSubmissionClient", name: str) -> None:
    async def tail() -> None:
        async for text in client.tail_job_logs(name):
            sys.stdout.write(text)
            sys.stdout.flush()

    try:
        asyncio.run(tail())
        while not (status := client.get_job_status(name)).is_terminal():
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        print(f"the job goes on; follow it with: ray job logs --follow {name}", flush=True)
        raise
    if status != "SUCCEEDED":
        info = client.get_job_info(name)
        raise RunFailedError(f"the job {name} has {status.lower()}, exit code {info.driver_exit_code}")


def _copy_summary(run_dir: str, where: Path) -> None:
    """Copy a summary here, if its folder can be read from here."""
    folder = Folder(run_dir)
    content = folder.read(SUMMARY)
    if content is None:
        print(f"{run_dir}/{SUMMARY} cannot be read from here")
        return
    Folder(where / PurePosixPath(run_dir.partition("?")[0]).name).write(SUMMARY, content)
    print(f"summary copied to {where / PurePosixPath(run_dir.partition('?')[0]).name}")
