"""What the package's code never does: run what a file says, start a shell, or open itself to the network."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fedra_ray"

#: Calls that run what they are given, by the full name of what is called.
FORBIDDEN = {
    "eval": "runs text",
    "exec": "runs text",
    "compile": "runs text",
    "__import__": "imports by name; importlib says so more clearly",
    "pickle.load": "runs code of the file",
    "pickle.loads": "runs code of the bytes",
    "pickle.Unpickler": "runs code of the file",
    "cloudpickle.load": "runs code of the file",
    "cloudpickle.loads": "runs code of the bytes",
    "dill.load": "runs code of the file",
    "dill.loads": "runs code of the bytes",
    "joblib.load": "runs code of the file",
    "marshal.load": "crashes on a hostile file",
    "marshal.loads": "crashes on hostile bytes",
    "shelve.open": "runs code of the file",
    "pandas.read_pickle": "runs code of the file",
    "torch.hub.load": "runs code from the network",
    "torch.jit.load": "runs code of the file",
    "yaml.load": "may run code of the file; safe_load does not",
    "yaml.load_all": "may run code of the file",
    "yaml.unsafe_load": "runs code of the file",
    "yaml.full_load": "may run code of the file",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "os.execv": "starts a program",
    "os.startfile": "starts a program",
    "commands.getoutput": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "subprocess.getstatusoutput": "starts a shell",
    "tempfile.mktemp": "names a file that another may make first",
    "shutil.unpack_archive": "writes where the archive says",
    "urllib.request.urlopen": "opens what a file may name",
    "xml.etree.ElementTree.parse": "expands entities of the file",
}
#: Calls that are safe only with this argument.
REQUIRED = {
    "torch.load": ("weights_only", True),
    "timm.models.load_state_dict": ("weights_only", True),
    "timm.models.load_checkpoint": ("weights_only", True),
}
#: Arguments that make any call unsafe.
UNSAFE_ARGUMENTS = {"shell": True, "allow_pickle": True, "trust_remote_code": True, "weights_only": False}


def aliases(tree: ast.AST) -> dict[str, str]:
    """Full names of what a module's imports bind."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                bound[name.asname or name.name.split(".")[0]] = name.name if name.asname else name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            bound |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return bound


def full_name(node: ast.expr, bound: dict[str, str]) -> str:
    """The dotted name of an expression, with imported names in full; empty if it has none."""
    if isinstance(node, ast.Attribute):
        owner = full_name(node.value, bound)
        return f"{owner}.{node.attr}" if owner else ""
    return bound.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def dangers(source: str) -> Iterator[str]:
    """What a module's calls do that they must not."""
    tree = ast.parse(source)
    bound = aliases(tree)
    for node in ast.walk(tree):
        name = full_name(node, bound) if isinstance(node, ast.Name | ast.Attribute) else ""
        if name in FORBIDDEN:  # named anywhere, so that another name for it does not hide a call
            yield name
        if not isinstance(node, ast.Call):
            continue
        name = full_name(node.func, bound)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in REQUIRED:
            argument, value = REQUIRED[name]
            if not (isinstance(given.get(argument), ast.Constant) and given[argument].value is value):
                yield name
        for argument, value in UNSAFE_ARGUMENTS.items():
            if isinstance(given.get(argument), ast.Constant) and given[argument].value is value:
                yield f"{argument}={value}"
        if name.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
            yield f"{name} of a line instead of a list"


def test_the_package_runs_nothing_that_a_file_says() -> None:
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 30
    dangerous = {
        (path.relative_to(PACKAGE).as_posix(), danger)
        for path in sources
        for danger in dangers(path.read_text(encoding="utf-8"))
    }
    assert dangerous == set()


@pytest.mark.parametrize(
    ("source", "danger"),
    [
        ("import pickle\npickle.load(f)", "pickle.load"),
        ("from pickle import loads as read\nread(b)", "pickle.loads"),
        ("import pickle as p\nread = p.loads", "pickle.loads"),
        ("import torch\ntorch.load(f)", "torch.load"),
        ("import torch\ntorch.load(f, weights_only=flag)", "torch.load"),
        ("import torch\ntorch.load(f, weights_only=False)", "weights_only=False"),
        ("import timm\ntimm.models.load_state_dict(f)", "timm.models.load_state_dict"),
        ("import yaml\nyaml.load(f, Loader=yaml.SafeLoader)", "yaml.load"),
        ("eval('1')", "eval"),
        ("import os\nos.system('ls')", "os.system"),
        ("import subprocess\nsubprocess.run('ls', shell=True)", "shell=True"),
        ("import subprocess\nsubprocess.run(f'ls {path}')", "subprocess.run of a line instead of a list"),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", "allow_pickle=True"),
        ("import tempfile\ntempfile.mktemp()", "tempfile.mktemp"),
    ],
)
def test_a_danger_is_found_under_any_name(source: str, danger: str) -> None:
    assert danger in set(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(f, weights_only=True)",
        "import yaml\nyaml.safe_load(f)",
        "import re\nre.compile('a')",
        "import json\njson.load(f)",
        "model.eval()",
        "import subprocess\nsubprocess.run(['git', 'status'])",
    ],
)
def test_what_is_safe_is_not_found(source: str) -> None:
    assert list(dangers(source)) == []


def test_a_checkpoint_is_never_sought_on_the_network(tmp_path: Path) -> None:
    """Not even an empty one, which timm takes for none."""
    code = """
import json, socket, sys
tried = []
socket.getaddrinfo = lambda *arguments, **options: tried.append(arguments[0]) or (_ for _ in ()).throw(OSError("no"))
from fedra_ray.model.weights import load_weights
from fedra_ray.config.schema import BackboneConfig
from fedra_ray.config.errors import SettingError
try:
    load_weights(BackboneConfig(checkpoint=sys.argv[1]))
except SettingError as error:
    print(json.dumps([tried, error.args[0]]))
"""
    file = tmp_path / "weights.safetensors"
    file.write_bytes((2).to_bytes(8, "little") + b"{}")
    result = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == [[], "backbone.checkpoint"]
