"""What the comparison with Flower does without Flower: speak of its absence, read its numbers, and clean up."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from analysis.benchmark.flower import SCRIPT, measure, parse, run

ROOT = Path(__file__).parents[2]

#: Starts a process that outlives it, in a process group of its own as Ray's workers are, and ends or waits.
PARENT = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]]
subprocess.Popen(child, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
print("started", flush=True)
time.sleep(float(sys.argv[2]))
sys.exit(sys.argv[3] if sys.argv[3:] else 0)
"""


def living(mark: str) -> list[psutil.Process]:
    """Processes that have `mark` among their arguments."""
    return [each for each in psutil.process_iter(["cmdline"]) if mark in (each.info["cmdline"] or [])]


def test_missing_environment_is_said_and_names_the_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(6, 10, tmp_path / "absent") is None
    told = capsys.readouterr().err
    assert str(tmp_path / "absent") in told
    assert "make flower" in told


def test_measurement_is_the_last_line_of_what_is_printed() -> None:
    assert parse('INFO: {"clients": 1}\n{"clients": 6, "seconds": 0.25}\n') == {"clients": 6, "seconds": 0.25}


def test_orphans_of_a_finished_command_are_ended(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", PARENT, str(tmp_path), "0"], dict(os.environ), 60) == "started\n"
    assert living(str(tmp_path)) == []


def test_command_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run([sys.executable, "-c", PARENT, str(tmp_path), "600"], dict(os.environ), 1)
    assert living(str(tmp_path)) == []


def test_failure_repeats_what_the_command_complained_of(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no clients answered"):
        run([sys.executable, "-c", PARENT, str(tmp_path), "0", "no clients answered"], dict(os.environ), 60)
    assert living(str(tmp_path)) == []


def test_script_imports_only_what_its_environment_has() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or "."])
    }
    assert imported - sys.stdlib_module_names == {"flwr", "numpy"}


def test_requirements_are_exact_versions() -> None:
    lines = (ROOT / "analysis/benchmark/flower.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert {re.split(r"[\[=]", pin)[0] for pin in pins} == {"flwr", "numpy", "ray"}
    assert all(re.fullmatch(r"[a-z]+(\[simulation\])?==[0-9.]+", pin) for pin in pins)
