"""Experiments side by side in processes of their own."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import running

CODE = """
import sys

from analysis.runs.in_process import run_all
from fedra_ray.cli.ending import exit_code

if __name__ == "__main__":
    runs = {str(seed): [*sys.argv[2:], f"seed={seed}", f"run_dir={sys.argv[1]}/{seed}"] for seed in range(4)}
    sys.exit(exit_code(lambda: run_all(runs, 2, "running")))
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["SIGTERM", "SIGKILL"],
)
def test_a_study_that_is_ended_takes_its_workers_with_it(
    number: signal.Signals, code: int, miniature: list[str], tmp_path: Path
) -> None:
    (tmp_path / "study.py").write_text(CODE)
    command = [sys.executable, str(tmp_path / "study.py"), str(tmp_path), *miniature, "rounds=100000"]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while len([*tmp_path.glob("*/config.yaml")]) < 2:
            assert process.poll() is None
            time.sleep(0.1)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        process.send_signal(number)
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert alive == []
    assert process.returncode == code
    assert len([*tmp_path.glob("*/config.yaml")]) == 2
