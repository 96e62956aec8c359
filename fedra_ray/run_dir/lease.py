"""The right to write in a run directory: of one process at a time, on any file system, and no longer than it lives.

Everyone who wants the directory first writes a file of its own there, a *lease*, and then lists the leases. Of any two,
the one who lists last sees the other, so at most one sees nobody and holds the directory; no exclusive creation is
needed, which object stores lack. This holds wherever a listing shows every file that was written before: local disks,
NFS, S3, Google Cloud Storage, Azure.

The holder rewrites its lease every few seconds. A lease that was not rewritten for `STALE_SECONDS`, by the clock of the
file system, belongs to a process that is lost, and is deleted; so is, at once, that of a process of this machine which
has ended.
"""

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.run_dir.folder import Folder

STALE_SECONDS = 60.0
_REFRESH_SECONDS = 10.0
_PAUSE_SECONDS = 0.2  # between looks at another process that is just claiming the directory
_PART = ".part"  # ends the name of a file that is being written
_NAME = re.compile(r"lease-[0-9a-f]{32}\.json")


@dataclass(frozen=True)
class Owner:
    """A process that has written a lease.

    Attributes:
        host: Name of its machine, for people.
        pid: Its number.
        machine: Tells the numbering of processes that `pid` is of from those of other machines and containers; empty
            where the system does not tell.
        started: Tells the process from others that had or will have its number.
        since: When it claimed the directory.
        holds: Whether it holds the directory; otherwise it is about to find out.
    """

    host: str
    pid: int
    machine: str
    started: str
    since: str
    holds: bool

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def gone(self) -> bool:
        """Whether the process was one of this machine and has ended."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's; whether it is the same one is not told
            return False
        return _started(self.pid) != self.started


def is_lease(name: str) -> bool:
    """Whether a file of a run directory is a lease, or one that is being written."""
    return _NAME.fullmatch(name.removesuffix(_PART)) is not None


class Lease:
    """A run directory that this process holds; a thread keeps the lease fresh until `release`.

    Args:
        folder: The run directory.

    Raises:
        SettingError: if another process holds it.
        RunFailedError: if nothing can be written there.
    """

    def __init__(self, folder: Folder) -> None:
        self.name = f"lease-{uuid.uuid4().hex}.json"
        self._folder = folder
        self._is_new = not folder.exists
        self._since = datetime.now().astimezone().isoformat(" ", "seconds")
        self._released = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        try:
            self._take()
        except BaseException:
            self._delete()
            raise
        self._keeper.start()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the directory; one that was made for the lease and stayed empty goes too."""
        self._released.set()
        self._keeper.join(_REFRESH_SECONDS)
        self._delete()

    def _take(self) -> None:
        self._write(holds=False)
        while others := list(self._others()):
            for name, owner in others:
                if owner is None or owner.holds or name < self.name:  # of two who are just claiming, one goes on
                    raise SettingError("run_dir", str(self._folder), _refusal(owner))
            time.sleep(_PAUSE_SECONDS)
            self._write(holds=False)
        self._write(holds=True)

    def _others(self) -> Iterator[tuple[str, Owner | None]]:
        """The leases of others that are alive, and who wrote them if that can be read; those of lost ones go."""
        now = self._folder.modified(self.name)
        for name in self._folder.names():
            if not is_lease(name) or name == self.name:
                continue
            with suppress(FileNotFoundError):  # released in the meantime
                written, owner = self._folder.modified(name), self._owner(name)
                age = (now - written).total_seconds() if now and written else 0.0
                if age > STALE_SECONDS or (owner is not None and owner.gone()):
                    self._folder.delete(name)
                elif not name.endswith(_PART) and written:
                    yield name, owner

    def _owner(self, name: str) -> Owner | None:
        content = self._folder.read(name)
        if content is None:
            raise FileNotFoundError(name)
        with suppress(ValueError, TypeError):
            return Owner(**json.loads(content))
        return None

    def _write(self, holds: bool) -> None:
        pid = os.getpid()
        owner = Owner(socket.gethostname(), pid, _machine(), _started(pid), self._since, holds)
        self._folder.write(self.name, json.dumps(asdict(owner)).encode())

    def _keep(self) -> None:
        """Keep the lease fresh; one that others have deleted, because this process stood still, stays deleted."""
        while not self._released.wait(_REFRESH_SECONDS):
            with suppress(RunFailedError, OSError):  # the next time it may work again
                if not is_held(self._folder, self.name):
                    return
                self._write(holds=True)

    def _delete(self) -> None:
        with suppress(OSError):  # as far as the file system lets it: one that stays behind is soon stale
            self._folder.delete(self.name)
        if self._is_new:
            self._folder.remove_if_empty()


def is_held(folder: Folder, name: str) -> bool:
    """Whether the lease of that name is still there: nobody else holds the directory then."""
    return folder.modified(name) is not None


def _refusal(owner: Owner | None) -> str:
    by = "another process" if owner is None else str(owner)
    return f"is in use by {by}; choose another run_dir (a run that is lost gives way after {STALE_SECONDS:.0f} s)"


def _machine() -> str:
    """The boot of the machine and the namespace that processes are numbered in; empty where there is no Linux."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str:
    """When a process of this machine started, in ticks since the boot; empty if it has ended or that is not told."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""
