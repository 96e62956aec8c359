"""One image everywhere, of the Ray and the Python that the project pins, holding what its installation reads."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file())
PLACEHOLDER = re.compile(r"YOUR_[A-Z_]*[A-Z]")


def pinned_tag() -> str:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    python = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][0].removeprefix("python=")
    return f"{pins['ray']}-py{python.replace('.', '')}"


def instructions() -> list[list[str]]:
    """The Dockerfile's instructions as words, continued lines joined."""
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


def allowed_into_the_build() -> set[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_image_is_built_on_the_pinned_ray() -> None:
    assert instructions()[0] == ["FROM", f"rayproject/ray:{pinned_tag()}"]


def test_image_installs_the_project_under_its_constraints_as_an_ordinary_user() -> None:
    words = instructions()
    (install,) = (line for line in words if line[:3] == ["RUN", "pip", "install"])
    assert install[install.index("-c") + 1] == "constraints.txt"
    users = [line[1] for line in words[: words.index(install)] if line[0] == "USER"]
    assert users == ["ray"]
    assert [line for line in words[words.index(install) :] if line[0] == "USER"] == []


def test_build_sends_what_the_installation_reads_and_nothing_else() -> None:
    allowed = allowed_into_the_build()
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "fedra_ray", "conf"} == allowed
    assert [name for name in allowed if not (ROOT / name).exists()] == []


def test_wheel_can_be_built_from_what_is_sent(tmp_path: Path) -> None:
    for name in allowed_into_the_build():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CLUSTER).as_posix())
def test_file_names_no_other_image_and_no_moving_version(path: Path) -> None:
    text = path.read_text()
    tags = re.findall(r"(?:fedra-ray|rayproject/ray):([\w.-]+)", text)
    assert set(tags) <= {pinned_tag()}
    assert re.search(r"\b(?:latest|nightly)\b", text) is None


@pytest.mark.parametrize("name", ["aws", "gcp", "azure", "local", "kuberay/raycluster", "kuberay/rayjob"])
def test_cluster_runs_the_image_of_the_dockerfile(name: str) -> None:
    images = re.findall(r"\bimage: (\S+)", (CLUSTER / f"{name}.yaml").read_text())
    assert set(images) == {f"YOUR_REGISTRY/fedra-ray:{pinned_tag()}"}


def test_the_readme_says_what_to_replace() -> None:
    used = {name for path in FILES for name in PLACEHOLDER.findall(path.read_text())}
    assert "YOUR_REGISTRY" in used
    assert "grep -rn YOUR_ cluster" in (CLUSTER / "README.md").read_text()


def test_the_readme_names_every_file_and_fits_one_screen() -> None:
    readme = (CLUSTER / "README.md").read_text()
    assert len(readme.splitlines()) < 60
    missing = [path.relative_to(CLUSTER).as_posix() for path in FILES if path.name != "README.md"]
    assert [name for name in missing if name not in readme] == []
