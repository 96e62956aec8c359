import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import running

from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir import lease as lease_module
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.lease import STALE_SECONDS, Lease, Owner, is_held, is_lease

#: A process that holds a directory and says so.
HOLDER = """
import sys, time
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.lease import Lease
lease = Lease(Folder(sys.argv[1]))
print(lease.name, flush=True)
time.sleep(600)
"""


def leases(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if is_lease(path.name)]


def let_age(file: Path, seconds: float) -> None:
    written = file.stat().st_mtime - seconds
    os.utime(file, (written, written))


def write_lease(folder: Path, **changes: object) -> Path:
    """A lease of this process, as another one would find it."""
    with Lease(Folder(folder)) as lease:
        owner = Owner(**json.loads((folder / lease.name).read_bytes()))
    file = folder / f"lease-{7:032x}.json"
    file.write_text(json.dumps(dataclasses.asdict(dataclasses.replace(owner, **changes))))
    return file


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with Lease(Folder(tmp_path)), pytest.raises(SettingError, match=rf"process {os.getpid()} on \S+ since \d{{4}}-"):
        Lease(Folder(tmp_path))
    assert leases(tmp_path) == []
    Lease(Folder(tmp_path)).release()


@pytest.mark.parametrize("attempt", range(5))
def test_of_many_who_claim_at_once_one_holds_the_directory(attempt: int, tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def take(number: int) -> Lease | None:
        together.wait()
        try:
            return Lease(Folder(tmp_path))
        except SettingError:
            return None

    with ThreadPoolExecutor(8) as threads:
        (held,) = [lease for lease in threads.map(take, range(8)) if lease is not None]
    assert leases(tmp_path) == [held.name]
    held.release()


def test_of_many_who_claim_a_folder_of_an_object_store_at_once_one_holds_it(bucket: tuple[str, str]) -> None:
    place = "{}/runs/mine?{}".format(*bucket)
    together = threading.Barrier(4)

    def take(number: int) -> Lease | None:
        together.wait()
        try:
            return Lease(Folder(place))
        except SettingError:
            return None

    with ThreadPoolExecutor(4) as threads:
        (held,) = [lease for lease in threads.map(take, range(4)) if lease is not None]
    assert [name for name in Folder(place).names() if is_lease(name)] == [held.name]
    with pytest.raises(SettingError, match=f"is in use by process {os.getpid()}"):
        Lease(Folder(place))
    held.release()
    Lease(Folder(place)).release()


def test_a_killed_process_gives_way_at_once_on_its_machine_reaped_or_not(tmp_path: Path) -> None:
    with running([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        with pytest.raises(SettingError, match=f"process {process.pid} on"):
            Lease(Folder(tmp_path))
        process.kill()
        while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "Z":  # nobody has waited for it yet
            time.sleep(0.01)
        with Lease(Folder(tmp_path)):
            assert not is_held(Folder(tmp_path), name)


def test_a_process_of_another_machine_gives_way_once_it_shows_no_life(tmp_path: Path) -> None:
    file = write_lease(tmp_path, machine="elsewhere", host="far", pid=2**22 + 1)
    for age in (0.0, STALE_SECONDS - 10):
        let_age(file, age)
        with pytest.raises(SettingError, match="in use by process 4194305 on far"):
            Lease(Folder(tmp_path))
    let_age(file, STALE_SECONDS)
    with Lease(Folder(tmp_path)):
        assert not file.exists()


def test_another_process_with_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    write_lease(tmp_path, started="1")
    with Lease(Folder(tmp_path)) as lease:
        assert leases(tmp_path) == [lease.name]


def test_a_lease_that_cannot_be_read_blocks_no_longer_than_a_lost_one(tmp_path: Path) -> None:
    file = tmp_path / f"lease-{0:032x}.json"
    for content in ("", "{}", "[1]", "\0"):
        file.write_text(content)
        with pytest.raises(SettingError, match="in use by another process"):
            Lease(Folder(tmp_path))
        let_age(file, STALE_SECONDS + 1)
        Lease(Folder(tmp_path)).release()
        assert not file.exists()


def test_a_lease_is_kept_fresh_and_one_that_was_taken_away_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_REFRESH_SECONDS", 0.02)
    with Lease(Folder(tmp_path)) as lease:
        file = tmp_path / lease.name
        let_age(file, 1000)
        while time.time() - file.stat().st_mtime > 500:
            time.sleep(0.01)
        (tmp_path / "notes.txt").touch()
        file.unlink()
        lease._keeper.join(10)
        assert not lease._keeper.is_alive()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_refused_or_released_directory_is_left_as_it_was(tmp_path: Path) -> None:
    Lease(Folder(tmp_path / "new")).release()
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    Lease(Folder(tmp_path / "mine")).release()
    assert (tmp_path / "mine").exists()
