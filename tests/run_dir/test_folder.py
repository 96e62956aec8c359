import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.run_dir.folder import Folder, above, below, beside


def test_a_file_comes_back_and_is_listed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new")
    assert (folder.names(), folder.read("a")) == ([], None)
    folder.write("b", b"second")
    folder.below("c").write("d", b"deep")
    folder.write("a", b"first")
    assert folder.names() == ["a", "b", "c"]
    assert (folder.read("a"), folder.below("c").read("d"), folder.read("c")) == (b"first", b"deep", None)
    folder.delete("a")
    assert folder.names() == ["b", "c"]
    assert str(folder.below("c")) == str(tmp_path / "new" / "c")


def test_writing_again_replaces_and_leaves_no_part(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"first")
    folder.write("a", b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
    assert folder.names() == ["a"]


def test_a_file_that_another_process_keeps_replacing_is_read_whole(bucket: tuple[str, str]) -> None:
    folder = Folder("{}/run?{}".format(*bucket))
    versions = [b"short", b"a longer one " * 400]
    folder.write("status.json", versions[0])
    done = threading.Event()

    def replace() -> None:
        other = Folder("{}/run?{}".format(*bucket))
        while not done.is_set():
            for content in reversed(versions):
                other.write("status.json", content)

    with ThreadPoolExecutor(1) as threads:
        replacing = threads.submit(replace)
        try:
            found = [folder.read("status.json") for _ in range(100)]
        finally:
            done.set()
        replacing.result()
    assert set(found) == set(versions)


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Folder(tmp_path / "file").names()
    with pytest.raises(RunFailedError, match=r"file/below/a cannot be written"):
        Folder(tmp_path / "file" / "below").write("a", b"")


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path) -> None:
    """A bound on the size of files fails writes in their middle, as a full disk does."""
    program = f"""
import resource, signal
from fedra_ray.config.errors import RunFailedError
from fedra_ray.run_dir.folder import Folder, above, below, beside
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Folder({str(tmp_path)!r})
folder.write("a", b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    folder.write("a", bytes(5000))
except RunFailedError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"{tmp_path}/a cannot be written: ")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_an_unknown_file_system_is_refused() -> None:
    with pytest.raises(SettingError) as refusal:
        Folder("ftp://host/runs")
    assert refusal.value.args[:2] == ("run_dir", "ftp://host/runs")


@pytest.mark.parametrize(
    ("where", "inside", "neighbour"),
    [
        ("runs/a", "runs/a/b", "runs/a-2"),
        ("/runs/a/", "/runs/a/b", "/runs/a-2"),
        ("runs/really?", "runs/really?/b", "runs/really?-2"),
        ("s3://bucket/a", "s3://bucket/a/b", "s3://bucket/a-2"),
        ("s3://bucket/a/?x=1&y=/2", "s3://bucket/a/b?x=1&y=/2", "s3://bucket/a-2?x=1&y=/2"),
    ],
)
def test_names_join_a_path_and_a_uri_before_its_query(where: str, inside: str, neighbour: str) -> None:
    assert below(where, "b") == inside
    assert beside(where, "-2") == neighbour


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("a/page.html", ("a", "page.html")),
        ("page.html", (".", "page.html")),
        ("/page.html", ("/", "page.html")),
        ("/a?b/c", ("/a?b", "c")),
        ("s3://b/a%20c/p%20q.html?x=y/z", ("s3://b/a%20c?x=y/z", "p q.html")),
    ],
)
def test_the_folder_above_a_file_keeps_the_query_of_a_uri(where: str, expected: tuple[str, str]) -> None:
    assert above(where) == expected


def test_names_below_a_uri_are_encoded_and_come_before_its_query() -> None:
    assert below("s3://b/a?x=y", "[1, 2]") == "s3://b/a/%5B1,%202%5D?x=y"
    assert below("/a?b", "[1, 2]") == "/a?b/[1, 2]"
    folder = Folder("mock:///a?x=y").below("[1, 2]").below("c")
    assert str(folder) == "mock:///a/%5B1,%202%5D/c?x=y"
    folder.write("d", b"content")
