"""Submitting a run as a Ray job, with what people forget: a small upload, a lasting run_dir, the log, the summary."""

import asyncio
import logging
import os
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.run_dir.claim import SUMMARY
from fedra_ray.run_dir.folder import Folder, below

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_POLL_SECONDS = 1.0
#: What is not uploaded, besides what .rayignore names.
_EXCLUDES = [".git", ".venv", "runs", "sweeps", "multirun", "studies", "outputs", "tests"]
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class JobOptions:
    """How a job is submitted.

    Attributes:
        address: Of the cluster's dashboard, http://HOST:8265; None takes RAY_API_SERVER_ADDRESS.
        wait: Follow the log, and wait for the end.
        id: Submission id; None makes one from the time.
        working_dir: Local folder that is uploaded with the job.
        cpus: CPUs reserved for the driver; None reserves none, and it runs on the head node.
        env: Environment variables of the driver and all actors, NAME=VALUE, or NAME with the value it has here.
        copy: Local folder to which `wait` copies the summaries of the runs.
    """

    address: str | None
    wait: bool
    id: str | None
    working_dir: str
    cpus: float | None
    env: list[str]
    copy: str


def submit_job(command: list[str], run_dirs: list[str], options: JobOptions) -> None:
    """Submit a command of this package; with `wait`, follow the log to the end.

    Args:
        command: The verb, its options and settings.
        run_dirs: Where its runs go.
        options: How it is submitted.

    Raises:
        SettingError: for a run directory that would be lost with the job's own folder, or an address without a cluster.
        RunFailedError: if the job fails, or is stopped.
    """
    for run_dir in run_dirs:
        if "://" not in run_dir and not PurePosixPath(run_dir).is_absolute():
            allowed = "must be an absolute path that all nodes share, or a URI such as s3://bucket/runs/mine"
            raise SettingError("run_dir", run_dir, allowed)
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)
    address = options.address or os.environ.get("RAY_API_SERVER_ADDRESS")
    try:
        client = JobSubmissionClient(address)
        name = client.submit_job(
            entrypoint=shlex.join(["python", "-m", "fedra_ray", *command]),
            submission_id=options.id or datetime.now().strftime("fedra-ray-%Y%m%d-%H%M%S-%f"),
            entrypoint_num_cpus=options.cpus,
            runtime_env=runtime_env(options.working_dir, options.env),
        )
    except SettingError:
        raise
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingError("--address", address, f"the job was not accepted: {reason}") from error
    print(f"submitted {name}; stop it with: ray job stop {name}", flush=True)
    if options.wait:
        _follow(client, name)
        for run_dir in run_dirs:
            _copy_summary(run_dir, Path(options.copy) / name)


def runtime_env(working_dir: str, environment: list[str]) -> dict[str, object]:
    """Ray's runtime environment of the job: its code and environment variables.

    Args:
        working_dir: Local folder with the code.
        environment: NAME=VALUE, or NAME with the value it has here.

    Raises:
        SettingError: for a NAME that has no value here.
    """
    variables = dict(_ENVIRONMENT)
    for variable in environment:
        name, separator, value = variable.partition("=")
        if not separator and name not in os.environ:
            raise SettingError("--env", variable, "is not set here; give NAME=VALUE")
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
    """Copy a summary to this machine, if its folder can be read from here."""
    content = Folder(run_dir).read(SUMMARY)
    if content is None:
        print(f"not copied: {below(run_dir, SUMMARY)} cannot be read from here")
        return
    copy = where / PurePosixPath(run_dir.partition("?")[0]).name
    Folder(copy).write(SUMMARY, content)
    print(f"summary copied to {copy}")
