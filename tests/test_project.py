"""The project's files agree with each other: dependencies, packaging, import boundaries, targets."""

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fedra_ray"
ASSET_LIMIT = 12_000_000  # bytes
LONGEST_FILE = 300  # lines
LONGEST_FUNCTION = 40  # lines of code
#: What excuses more: a comment in the first line of a file, or above a function and its decorators.
EXCUSE = re.compile(r"\s*# Long: \S")

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
REQUIREMENTS = [
    Requirement(text)
    for group in (
        PROJECT["dependencies"],
        *PROJECT["optional-dependencies"].values(),
        PYPROJECT["build-system"]["requires"],
    )
    for text in group
]


def constraint_lines() -> list[str]:
    return (ROOT / "constraints.txt").read_text().splitlines()


def imported_modules(path: Path) -> Iterator[str]:
    """Absolute names of the modules a file imports, relative imports resolved."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*base, *([node.module] if node.module else [])])


def files_importing(*packages: str) -> set[str]:
    """Files of fedra_ray that import any of the top-level packages, relative to fedra_ray."""
    sources = list(PACKAGE.rglob("*.py"))
    assert sources
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in sources
        if any(module.split(".")[0] in packages for module in imported_modules(path))
    }


def project_files() -> list[Path]:
    """Files that are tracked, or would be after `git add .`."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def test_every_constraint_is_one_exact_public_version() -> None:
    for line in constraint_lines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
    names = [canonicalize_name(line.split("==")[0]) for line in constraint_lines()]
    assert len(names) == len(set(names))
    assert not {"fedra-ray", "pip", "setuptools", "wheel"} & set(names)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_direct_dependency_is_pinned_at_a_version_the_project_allows(requirement: Requirement) -> None:
    pins = dict(line.split("==") for line in constraint_lines())
    versions = {canonicalize_name(name): Version(version) for name, version in pins.items()}
    pinned = versions.get(canonicalize_name(requirement.name))
    assert pinned is not None, f"constraints.txt does not pin {requirement.name}"
    assert requirement.specifier.contains(pinned, prereleases=True)


def test_conda_environment_installs_the_project_under_its_constraints() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    python, pip, by_pip = environment["dependencies"]
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert python == f"python={lowest}"
    assert pip == "pip"
    assert by_pip == {"pip": ["-c constraints.txt", "-e ."]}


def test_tools_aim_at_the_oldest_supported_python() -> None:
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert PYPROJECT["tool"]["mypy"]["python_version"] == lowest
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    major, minor = lowest.split(".")
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "Makefile").read_text()


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    index = r"index[-_]url|find[-_]links|/simple\b(?=[/\s\"']|$)"
    machine = r"(?<![\w.$~*-])/(?:work|root|Users)/|/opt/wheels"
    forbidden = re.compile(f"{index}|{machine}", re.MULTILINE)
    named = []
    for path in project_files():
        assert path.name != "uv.lock"
        if path == Path(__file__).resolve():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            hits = forbidden.findall(content.decode(errors="replace"))
            named += [f"{path.relative_to(ROOT)}: {hit}" for hit in hits]
    assert named == []


def declared(*extras: str) -> set[str]:
    """Names of the distributions that the project depends on, with some of its extras."""
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(text).name) for text in texts}


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("fedra_ray", ["quantization", "tensorboard", "text", "wandb"]),
        ("analysis", ["analysis", "data"]),
        ("tests", ["analysis", "dev", "text"]),
    ],
)
def test_every_direct_import_is_declared(folder: str, extras: list[str]) -> None:
    own = {"fedra_ray", "analysis", "tests", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    flower = {"flwr"}  # has an environment of its own, analysis/benchmark/flower.txt
    imported = {name.split(".")[0] for path in (ROOT / folder).rglob("*.py") for name in imported_modules(path)}
    distributions = packages_distributions()
    undeclared = {
        name
        for name in imported - own - flower - sys.stdlib_module_names
        if not declared(*extras) & {canonicalize_name(each) for each in distributions.get(name, [name])}
    }
    assert "numpy" in imported
    assert undeclared == set()


def test_only_the_runtime_imports_ray() -> None:
    assert {name for name in files_importing("ray") if not name.startswith("runtime/")} == set()


def test_only_the_command_line_imports_hydra() -> None:
    assert {name for name in files_importing("hydra", "omegaconf") if not name.startswith("cli/")} == set()


def test_the_package_imports_nothing_that_the_wheel_leaves_out() -> None:
    assert files_importing("analysis", "cluster", "tests") == set()


def test_embedded_assets_stay_small() -> None:
    too_large = {
        path.name: path.stat().st_size for path in (PACKAGE / "assets").rglob("*") if path.stat().st_size > ASSET_LIMIT
    }
    assert too_large == {}


def test_every_make_target_is_phony_and_described() -> None:
    makefile = (ROOT / "Makefile").read_text()
    described = dict(re.findall(r"^([a-z]+):[^#\n]*(?:## (\S.*))?$", makefile, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert {"run", "test", "heavy", "chaos", "soak", "study", "bench"} <= set(described)
    assert sorted(described) == sorted(phony.split())
    assert [target for target, description in described.items() if not description] == []


def test_make_lists_its_targets() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert phony is not None
    assert {line.split()[0] for line in listed.splitlines()[1:]} == set(phony[1].split())


def python_files() -> list[Path]:
    files = [path for room in ("fedra_ray", "analysis", "tests") for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 200
    return files


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that have code on them; docstrings count as code here."""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {line for token in tokens if token.type not in layout for line in range(token.start[0], token.end[0] + 1)}


def long_functions(source: str) -> list[str]:
    """Functions with too many lines of code and no comment `# Long: why` above; docstrings do not count."""
    lines, numbers = source.splitlines(), code_lines(source)
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = numbers & set(range(node.lineno, node.end_lineno + 1))
            if ast.get_docstring(node) is not None:
                own -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if len(own) > LONGEST_FUNCTION and not EXCUSE.match(lines[first - 2]):
                names.append(node.name)
    return names


def test_no_file_is_long_without_a_reason() -> None:
    long = set()
    for path in python_files():
        lines = path.read_text().splitlines()
        if len(lines) > LONGEST_FILE and not EXCUSE.match(lines[0]):
            long.add(path.relative_to(ROOT).as_posix())
    assert long == set()


def test_no_function_is_long_without_a_reason() -> None:
    long = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in python_files()
        for name in long_functions(path.read_text())
    }
    assert long == set()


def test_a_long_function_is_noticed_unless_a_comment_says_why() -> None:
    def source(lines: int, above: str = "") -> str:
        return (
            f"{above}\n@cache\ndef f():\n" + '    """Says\n\n    much."""\n' + "    # a comment\n\n    x = 1\n" * lines
        )

    assert long_functions(source(LONGEST_FUNCTION - 1)) == []
    assert long_functions(source(LONGEST_FUNCTION)) == ["f"]
    assert long_functions(source(LONGEST_FUNCTION, "# Long: one table of cases")) == []
    assert long_functions(source(LONGEST_FUNCTION, "# Long:")) == ["f"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = directory.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_carries_the_package_its_assets_and_its_configuration(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        (destination / path.relative_to(source)).as_posix()
        for source, destination in [(PACKAGE, Path("fedra_ray")), (ROOT / "conf", Path("fedra_ray/conf"))]
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == expected
    assert "fedra_ray/conf/config.yaml" in names
    assert {".parquet", ".safetensors"} <= {Path(name).suffix for name in names}


def test_wheel_states_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    (metadata_name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(metadata_name).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"LICENSE", "NOTICE"} <= set(metadata.get_all("License-File"))
    entry_points = wheel.read(metadata_name.replace("METADATA", "entry_points.txt")).decode()
    assert "fedra-ray = fedra_ray.__main__:main" in entry_points
