"""Folders and split files of a stranger: a `SettingError` that names the place, or the images that are really there."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import write_domain_folder, write_domainnet

from fedra_ray.config.errors import ImageError, SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.domain_folder import DomainFolder
from fedra_ray.data.domainnet import DomainNet
from fedra_ray.data.source import ImageSource
from fedra_ray.data.tree import read_list

FIRST = "clipart/aircraft_carrier/clipart_001_000001.jpg"

#: What a split file holds, and what the refusal must say.
LISTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "names no image"),
    "blank lines alone": (b"\n \n\t\n\r\n", "names no image"),
    "a byte order mark alone": (b"\xef\xbb\xbf", "names no image"),
    "truncated in a label": (b"a/b/c.jpg 0\na/b/d.jpg ", "line 2"),
    "truncated in a path": (b"a/b/c.jpg 0\na/b", "line 2"),
    "columns the wrong way round": (b"0 a/b/c.jpg\n", "line 1"),
    "commas": (b"a/b/c.jpg,0\n", "line 1"),
    "no class": (b"c.jpg 0\n", "line 1"),
    "a negative label": (b"a/b/c.jpg -1\n", "line 1"),
    "a fraction": (b"a/b/c.jpg 1.0\n", "line 1"),
    "hexadecimal": (b"a/b/c.jpg 0x1\n", "line 1"),
    "digits of another script": ("a/b/c.jpg ٣\n".encode(), "line 1"),
    "10^18": (b"a/b/c.jpg 1000000000000000000\n", "a label has at most 9 digits"),
    "a label of 10^5 digits": (b"a/b/c.jpg " + b"9" * 100_000, "a label has at most 9 digits"),
    "a line of a megabyte": (b"a" * 1_000_000, "line 1"),
    "Latin-1": ("a/b/é.jpg 0\n".encode("latin-1"), "not a readable split file"),
    "UTF-16": ("a/b/c.jpg 0\n".encode("utf-16"), "not a readable split file"),
    "NUL bytes": (b"a/b/c\0.jpg 0\n", "line 1"),
    "an absolute path": (b"/etc/x/passwd 0\n", "must stay below the root"),
    "a path that leaves": (b"a/../../b/c.jpg 0\n", "must stay below the root"),
    "a gzip archive": (b"\x1f\x8b\x08\0\0\0\0\0\0\3", "not a readable split file"),
    "JSON": (b'{"a/b/c.jpg": 0}', "line 1"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_hostile_split_file_is_refused_by_name(case: str, tmp_path: Path) -> None:
    content, expected = LISTS[case]
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(SettingError) as refusal:
        list(read_list(tmp_path / "list.txt"))
    assert "list.txt" in str(refusal.value)
    assert expected in str(refusal.value)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa/b/c.jpg 0\n", b"a/b/c.jpg 0\r\n\r\n", b"\n\n a/b/c.jpg 0 "])
def test_marks_of_other_editors_change_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    assert list(read_list(tmp_path / "list.txt")) == [("a/b/c.jpg", 0)]


def test_a_name_may_have_what_python_takes_for_the_end_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a/b/c\x0b\x85\u2028.jpg 0\n", encoding="utf-8")
    assert list(read_list(tmp_path / "list.txt")) == [("a/b/c\x0b\x85\u2028.jpg", 0)]


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, make_loop, make_link_to_device], ids=lambda make: make.__name__
)
def test_a_split_file_that_is_no_regular_file_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "list.txt")
    with pytest.raises(SettingError, match=r"list\.txt: is not a readable split file"):
        list(read_list(tmp_path / "list.txt"))


@given(content=st.binary(max_size=200) | st.text("ab/. 01-\n\r\t\0", max_size=60).map(str.encode))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_split_file_or_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    try:
        pairs = list(read_list(tmp_path / "list.txt"))
    except SettingError:
        return
    assert pairs
    assert all(label >= 0 and not path.startswith("/") and ".." not in path.split("/") for path, label in pairs)


@pytest.fixture
def domainnet(tmp_path: Path) -> Path:
    write_domainnet(tmp_path / "net", train=2, test=1)
    return tmp_path / "net"


def rewrite(root: Path, change: Callable[[str], str]) -> None:
    file = root / "splits" / "clipart_train.txt"
    file.write_text(change(file.read_text()))


def test_a_domain_with_empty_lists_is_not_left_out_silently(domainnet: Path) -> None:
    for split in ("train", "test"):
        (domainnet / "splits" / f"clipart_{split}.txt").write_text("\n")
    with pytest.raises(SettingError, match=r"clipart_train\.txt: names no image"):
        DomainNet(str(domainnet), 16)


def test_a_class_with_two_labels_is_refused(domainnet: Path) -> None:
    rewrite(domainnet, lambda text: text + "clipart/bicycle/x.jpg 3\n")
    with pytest.raises(SettingError, match="bicycle has the labels 1 and 3"):
        DomainNet(str(domainnet), 16)


def test_an_image_listed_twice_counts_twice(domainnet: Path) -> None:
    images = len(DomainNet(str(domainnet), 16).labels("clipart", "train"))
    rewrite(domainnet, lambda text: text + f"{FIRST} 0\n")
    assert len(DomainNet(str(domainnet), 16).labels("clipart", "train")) == images + 1


def fetch_first(root: Path, on_error: str) -> tuple[list[bool], list[tuple[str, str]]]:
    config = DatasetConfig(root=str(root), on_error=on_error)
    _, good, skipped = ImageSource(DomainNet(str(root), 16), config, 16).fetch(("clipart", "train"), np.arange(2))
    return good.tolist(), skipped


def link_outside(path: Path) -> None:
    path.symlink_to("/etc/hostname")


SPOILT: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link to itself": make_loop,
    "link to a device": make_link_to_device,
    "link to text outside": link_outside,
    "empty file": Path.touch,
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_stands_in_for_an_image_is_named_or_counted(how: str, domainnet: Path) -> None:
    spoilt = "clipart/aircraft_carrier/clipart_001_000002.jpg"
    (domainnet / spoilt).unlink()
    SPOILT[how](domainnet / spoilt)
    with pytest.raises(ImageError, match=spoilt):
        fetch_first(domainnet, "fail")
    good, skipped = fetch_first(domainnet, "skip")
    assert good == [True, False]
    ((name, _),) = skipped
    assert name == str(domainnet / spoilt)


def test_a_link_to_an_image_elsewhere_is_followed(domainnet: Path, tmp_path: Path) -> None:
    (domainnet / FIRST).rename(tmp_path / "elsewhere.jpg")
    (domainnet / FIRST).symlink_to(tmp_path / "elsewhere.jpg")
    assert fetch_first(domainnet, "fail") == ([True, True], [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_domain_folder(tmp_path / "folder", images=3)
    return tmp_path / "folder"


def count(root: Path) -> int:
    dataset = DomainFolder(str(root), 16)
    return sum(len(dataset.labels(domain, split)) for domain in dataset.domains for split in ("train", "test"))


def test_links_that_lead_back_up_are_not_followed(folder: Path) -> None:
    images = count(folder)
    for name in ("a", "b"):  # two of them would double the work at every level
        (folder / "photo" / "bicycle" / name).symlink_to(folder)
    assert count(folder) == images


@pytest.mark.parametrize("place", [".", "photo"])
def test_a_class_or_domain_that_is_a_folder_above_is_refused(place: str, folder: Path) -> None:
    (folder / place / "loop").symlink_to(folder)
    with pytest.raises(SettingError, match="loop: is a link to a folder above it"):
        DomainFolder(str(folder), 16)


def test_a_class_may_be_a_link_to_a_folder_elsewhere(folder: Path, tmp_path: Path) -> None:
    images = count(folder)
    (folder / "photo" / "bicycle").rename(tmp_path / "elsewhere")
    (folder / "photo" / "bicycle").symlink_to(tmp_path / "elsewhere")
    assert count(folder) == images


def test_folders_named_like_images_are_none(folder: Path) -> None:
    images = count(folder)
    (folder / "photo" / "bicycle" / "x.jpg").mkdir()
    assert count(folder) == images


def test_a_pipe_named_like_an_image_is_named_when_it_is_needed(folder: Path) -> None:
    os.mkfifo(folder / "photo" / "bicycle" / "0.jpg")
    dataset = DomainFolder(str(folder), 16, test=0, validation=0)
    with pytest.raises(ImageError, match=r"0\.jpg: not a regular file"):
        dataset.images("photo", "train", np.arange(len(dataset.labels("photo", "train"))))


def test_an_image_with_a_name_that_is_no_text_is_named_in_text(folder: Path) -> None:
    file = os.fsencode(folder / "photo" / "bicycle") + b"/\xff\xfe.jpg"
    with open(file, "wb"):
        pass
    dataset = DomainFolder(str(folder), 16, test=0, validation=0)
    with pytest.raises(ImageError) as refusal:
        dataset.images("photo", "train", np.arange(len(dataset.labels("photo", "train"))))
    assert r"\xff\xfe.jpg" in str(refusal.value)
    assert str(refusal.value).encode("utf-8")


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x1b[31mred", b"two\nlines"])
def test_a_class_with_a_name_that_is_no_text_is_refused(name: bytes, folder: Path) -> None:
    os.mkdir(os.fsencode(folder / "photo") + b"/" + name)
    with pytest.raises(SettingError, match="must be printable UTF-8") as refusal:
        DomainFolder(str(folder), 16)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("domains", [["../folder/photo"], ["photo", "photo"], [""], ["."], []])
def test_domains_are_folders_of_the_root_each_once(domains: list[str], folder: Path) -> None:
    with pytest.raises(SettingError, match="dataset"):
        DomainFolder(str(folder), 16, domains=domains)


@pytest.fixture
def deep_folder() -> Iterator[Path]:
    """Outside of pytest's own folder, which it could not remove any more."""
    root = Path(tempfile.mkdtemp(prefix="fedra_ray_nested_"))
    try:
        write_domain_folder(root / "folder", images=3)
        here = os.open(root / "folder" / "photo" / "bicycle", os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        yield root / "folder"
    finally:
        subprocess.run(["rm", "-r", root], check=True)


def test_folders_nested_beyond_any_reason_are_read_or_refused(deep_folder: Path, folder: Path) -> None:
    outcome: object
    try:
        outcome = count(deep_folder)
    except SettingError as error:
        outcome = str(error)
    assert outcome == count(folder) or "nested too deeply" in str(outcome)


def test_a_folder_that_may_not_be_listed_is_refused(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may list everything")
    (folder / "photo" / "bicycle" / "x").mkdir(mode=0)
    with pytest.raises(SettingError, match="cannot be listed: Permission denied"):
        DomainFolder(str(folder), 16)
