"""One method is one file and one config: README's example works with every verb, and no other file is touched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MODULE = re.compile(r"```python\n(import numpy as np\n.*?class LeastTrained\(Method\):.*?)```", re.DOTALL)
CONFIG = re.compile(r"```yaml\n(# conf/method/leasttrained\.yaml\n.*?)```", re.DOTALL)


def printed(pattern: re.Pattern[str]) -> str:
    """A block of code as README prints it."""
    blocks = pattern.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) == 1
    return str(blocks[0])


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder of the user's own, with the method's file and its config."""
    folder = tmp_path / "mine"
    (folder / "conf" / "method").mkdir(parents=True)
    (folder / "own_method.py").write_text(printed(MODULE))
    (folder / "conf" / "method" / "leasttrained.yaml").write_text(printed(CONFIG))
    return folder


def test_the_printed_method_is_short_and_its_config_names_it() -> None:
    assert len(printed(MODULE).splitlines()) <= 25
    config = yaml.safe_load(printed(CONFIG))
    assert config == {"name": "leasttrained", "label": "Least trained", "target": "own_method.LeastTrained"}


def test_every_verb_works_with_it_and_prints_its_label(package: Path, miniature: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{ROOT}", "COLUMNS": "160"}

    def output(module: str, *arguments: str) -> str:
        command = [sys.executable, "-m", module, *arguments]
        result = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    settings = ["hydra.searchpath=[conf]", "method=leasttrained", *miniature, "rounds=2", "runtime.max_actors=1"]
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    assert "Least trained with" in output("fedra_ray", "plan", *settings)
    told = output("fedra_ray", "run", *settings, f"run_dir={run}")
    assert "Least trained with" in told
    assert "Least trained on" in told
    assert "started, Least trained" in output("fedra_ray", "sweep", *settings, "seed=1,2", f"run_dir={sweep}")
    assert "Least trained with" in output("fedra_ray", "status", str(run))
    output("fedra_ray", "report", str(run), str(sweep / "seed=1"), "--out", str(tmp_path / "report.html"))
    assert "Least trained" in (tmp_path / "report.html").read_text()
    assert "Least trained" in (run / "report.html").read_text()
    runs = [str(run), str(sweep / "seed=1"), str(sweep / "seed=2")]
    assert "Least trained" in output("analysis.questions.table", *runs)
    output("analysis.questions.fairness", *runs, "--out", str(tmp_path / "figures"))
    assert "Least trained" in (tmp_path / "figures" / "fairness.csv").read_text()
