import os
from pathlib import Path

import pytest

from fedra_ray.config.errors import SettingError
from fedra_ray.data.scan import Scan, list_folder, suffixes, walk


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def scanned(root: Path) -> Scan:
    scan = Scan()
    for domain in list_folder(root, (), scan):
        walk(root, domain, scan)
    return scan


def test_every_suffix_of_a_format_that_is_decoded_is_one_of_images() -> None:
    usual = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
    assert usual | {".pbm", ".pgm", ".ppm", ".pnm"} <= suffixes()
    assert not suffixes() & {".heic", ".eps", ".pdf", ".txt", ".svg", ".avif", ""}


def test_images_are_found_at_any_depth_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/x/2.PNG", "b/x/10.jfif", "b/x/y/z/deep.pgm", "a.jpg", "c/1.JPE")
    paths = ["/".join(image) for image in scanned(tmp_path).images]
    assert paths == ["a.jpg", "b/x/10.jfif", "b/x/2.PNG", "b/x/y/z/deep.pgm", "c/1.JPE"]
    assert scanned(tmp_path).notes() == []


def test_files_that_are_passed_over_are_counted_by_suffix(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"a/b/{number}.heic" for number in range(12)), "a/b/c.TXT", "a/b/d.txt", "readme", "a/.b/hidden.jpg"
    )
    assert scanned(tmp_path).notes() == [
        "passed over 15 files without a suffix of images: 12 .heic, 2 .txt, 1 without",
        "passed over 1 hidden files and folders: a/.b",
    ]


def test_many_kinds_of_files_are_told_in_one_line(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a/b/file.{letter}" for letter in "abcdefghijk"))
    (note,) = scanned(tmp_path).notes()
    assert note.startswith("passed over 11 files without a suffix of images: 1 .a")
    assert note.endswith(", ...")


def test_links_are_followed_and_told(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "elsewhere/more/2.jpg", "data/a/b/0.jpg")
    (tmp_path / "data/a/b/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/b/image.png").symlink_to(tmp_path / "elsewhere/1.jpg")
    scan = scanned(tmp_path / "data")
    paths = {"/".join(image) for image in scan.images}
    assert paths == {"a/b/0.jpg", "a/b/image.png", "a/b/linked/1.jpg", "a/b/linked/more/2.jpg"}
    assert scan.notes() == ["followed 2 links: a/b/image.png, a/b/linked"]


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/0.jpg")
    (tmp_path / "a/lost").symlink_to(tmp_path / "gone")
    (tmp_path / "a/b/itself").symlink_to("itself")
    assert scanned(tmp_path).notes() == ["passed over 2 links that lead nowhere: a/lost, a/b/itself"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """One back up, and two folders that hold links to each other."""
    touch(tmp_path, "a/b/0.jpg", "a/c/1.jpg")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/b/other").symlink_to(tmp_path / "a/c")
    (tmp_path / "a/c/other").symlink_to(tmp_path / "a/b")
    scan = scanned(tmp_path)
    assert len(scan.images) == 4
    assert len(scan.loops) == 4
    assert scan.notes()[0].startswith("passed over 4 links to a folder that they lie in: a/b/up, a/b/other/other")


def test_a_domain_that_is_a_folder_above_is_refused(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to(tmp_path)
    with pytest.raises(SettingError, match="up: is a link to a folder above it"):
        scanned(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/0.jpg")
    os.mkfifo(tmp_path / "a/b/pipe")
    assert scanned(tmp_path).notes() == ["passed over 1 files without a suffix of images: 1 without"]
