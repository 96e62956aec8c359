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
from fedra_ray.run_dir.folder import Folder, above, below
from fedra_ray.runtime.grid import RESULTS

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_POLL_SECONDS = 1.0
_PENDING_SECONDS = 60.0  # between lines that say so
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
        copy: Local folder to which `wait` copies the summaries of the runs, and the table and page of a sweep.
        wait_s: Seconds for which `wait` lets the job be pending before it stops it; None for ever.
    """

    address: str | None
    wait: bool
    id: str | None
    working_dir: str
    cpus: float | None
    env: list[str]
    copy: str
    wait_s: float | None


def submit_job(command: list[str], run_dirs: list[str], options: JobOptions, sweep: str | None = None) -> None:
    """Submit a command of this package; with `wait`, follow the log to the end, and copy what it has left.

    Args:
        command: The verb, its options and settings.
        run_dirs: Where its runs go.
        options: How it is submitted.
        sweep: The folder above them, if they are those of a sweep.

    Raises:
        SettingError: for a run directory that would be lost with the job's own folder, or an address without a cluster.
        RunFailedError: if the job fails, is stopped, or does not start in time.
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
        _await_start(client, name, options.wait_s)
        status = _follow(client, name)
        _copy_results(run_dirs, sweep, Path(options.copy) / name)
        if status != "SUCCEEDED":
            info = client.get_job_info(name)
            raise RunFailedError(f"the job {name} has {status.lower()}, exit code {info.driver_exit_code}")


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


def _await_start(client: "JobSubmissionClient", name: str, limit: float | None) -> None:
    """Wait until a job is no longer pending, and say every minute that it still is.

    Raises:
        RunFailedError: if it is pending after `limit` seconds; it is stopped.
    """
    start, told = time.monotonic(), 0
    try:
        while str(client.get_job_status(name)) == "PENDING":
            seconds = time.monotonic() - start
            if limit is not None and seconds >= limit:
                client.stop_job(name)
                raise RunFailedError(
                    f"the job {name} was pending for {seconds:.0f} s, which runtime.wait_s={limit:g} ends, "
                    f"and is stopped: {client.get_job_info(name).message}"
                )
            if seconds // _PENDING_SECONDS > told:
                told = int(seconds // _PENDING_SECONDS)
                print(f"the job {name} has been pending for {seconds:.0f} s: no node has room for it", flush=True)
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        _leave(name)
        raise


def _leave(name: str) -> None:
    print(f"the job goes on; follow it with: ray job logs --follow {name}", flush=True)


def _follow(client: "JobSubmissionClient", name: str) -> str:
    """Print the log of a job as it is written; returns how the job has ended."""

    async def tail() -> None:
        async for text in client.tail_job_logs(name):
            sys.stdout.write(text)
            sys.stdout.flush()

    try:
        asyncio.run(tail())
        while not (status := client.get_job_status(name)).is_terminal():
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        _leave(name)
        raise
    return str(status)


def _copy_results(run_dirs: list[str], sweep: str | None, where: Path) -> None:
    """Copy summaries and the files of a sweep's own folder to this machine, if they are there and can be read from it.

    Raises:
        RunFailedError: if they cannot be written here.
    """
    for run_dir in run_dirs:
        _copy(run_dir, SUMMARY, where / above(run_dir.rstrip("/"))[1])
    if sweep is not None:
        for name in _files(Folder(sweep)) or [RESULTS]:
            _copy(sweep, name, where)


def _files(folder: Folder) -> list[str]:
    """The files of a folder, without the folders in it; none if it cannot be read from here."""
    try:
        return [name for name in folder.names() if folder.read(name) is not None]
    except OSError:
        return []


def _copy(place: str, name: str, where: Path) -> None:
    """Copy a file of a folder on the cluster into a folder here, and say so, or that it is not there."""
    try:
        content = Folder(place).read(name)
    except OSError:
        content = None
    if content is None:
        print(f"not copied: {below(place, name)} is not there, or cannot be read from here")
        return
    Folder(where).write(name, content)
    print(f"copied to {where / name}")
