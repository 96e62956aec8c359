"""Packages are pinned, and nothing under another licence is taken."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from analysis.artwork.icons import IconSet
from analysis.artwork.packages import Package, fetch, read_json, read_packages


def archive(path: Path, **contents: object) -> Path:
    """A package's archive with these JSON files."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def package(licence: str) -> Package:
    return Package("cats", "@some/cats", "1.2.3", licence, "Someone")


def test_what_the_cache_has_is_not_fetched(tmp_path: Path) -> None:
    there = archive(tmp_path / "some-cats-1.2.3.tgz", package={"license": "MIT"})
    assert fetch(package("MIT"), tmp_path) == there
    assert read_json(there, "chars.json") == {}


@pytest.mark.parametrize(("stated", "listed"), [("CC-BY-SA-4.0", "MIT"), ("CC-BY-SA-4.0", "CC-BY-SA-4.0")])
def test_a_package_under_another_licence_is_refused(tmp_path: Path, stated: str, listed: str) -> None:
    archive(tmp_path / "some-cats-1.2.3.tgz", package={"license": stated})
    with pytest.raises(RuntimeError, match="CC-BY-SA"):
        fetch(package(listed), tmp_path)


def test_short_names_and_packages_are_listed_once() -> None:
    packages = read_packages()
    assert len({one.package for one in packages.values()}) == len(packages)
    assert all(one.version.count(".") == 2 for one in packages.values())


def test_a_drawing_has_its_own_size_or_that_of_the_set_and_the_ink_asked_for(tmp_path: Path) -> None:
    icons = {"icons": {"tom-cat": {"body": "<a/>"}, "cat": {"body": "<b/>", "width": 32}}, "height": 24}
    found = IconSet(archive(tmp_path / "cats.tgz", icons=icons))
    assert list(found.names()) == ["tom-cat", "cat"]
    assert 'viewBox="0 0 32 24"' in found.svg("cat", "#ffffff")
    assert 'color="#ffffff"><b/>' in found.svg("cat", "#ffffff")
    assert 'viewBox="0 0 16 24"' in found.svg("tom-cat")
