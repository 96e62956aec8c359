"""Fetches pinned packages of the npm registry."""

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PACKAGES = Path(__file__).with_name("packages.yaml")
LICENCES = ("MIT", "ISC", "Apache-2.0", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0")


@dataclass(frozen=True)
class Package:
    """One npm package.

    Attributes:
        name: Short name, unique in the list.
        package: Name in the registry.
        version: Exact version.
        licence: SPDX identifier that the package states, one of LICENCES.
        author: Whom its metadata name.
        domains: The domains of the benchmark that show its drawings.
    """

    name: str
    package: str
    version: str
    licence: str
    author: str
    domains: Sequence[str] = ()


def read_packages(path: Path = PACKAGES) -> dict[str, Package]:
    """The packages of a list by their short names, in its order."""
    found = [Package(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
    return {package.name: package for package in found}


def fetch(package: Package, cache: Path) -> Path:
    """The package's archive, fetched with `npm pack` unless the cache has it.

    Raises:
        RuntimeError: if npm is missing or fails, or the package states another licence than the list.
    """
    archive = cache / f"{package.package.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        try:
            command = ["npm", "pack", "--silent", f"{package.package}@{package.version}"]
            subprocess.run(command, cwd=cache, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise RuntimeError("npm is not installed; it fetches the drawings") from error
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"npm pack {package.package}@{package.version} failed: {error.stderr}") from error
    stated = read_json(archive, "package.json")["license"]
    if stated != package.licence or stated not in LICENCES:
        raise RuntimeError(f"{package.package}@{package.version} is under {stated}, listed as {package.licence}")
    return archive


def read_json(archive: Path, name: str) -> Any:
    """A JSON file of a package's archive; an empty dict if the archive has none of that name."""
    with tarfile.open(archive) as tar:
        try:
            member = tar.extractfile(f"package/{name}")
        except KeyError:
            return {}
        return json.load(io.TextIOWrapper(member, encoding="utf-8")) if member else {}
