"""The Slurm script: bash accepts it, `ray symmetric-run` takes its flags, and results have a place all nodes see."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

SCRIPT = Path(__file__).resolve().parents[2] / "cluster" / "slurm.sh"


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts}


def symmetric_run_words() -> list[str]:
    """What stands between `ray symmetric-run` and the entrypoint."""
    joined = SCRIPT.read_text().replace("\\\n", " ")
    (words,) = re.findall(r"ray symmetric-run(.*?) -- ", joined)
    return shlex.split(words)


def test_bash_accepts_the_script() -> None:
    checked = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_symmetric_run_has_every_flag() -> None:
    own, of_ray_start = options(symmetric_run), options(start)
    used = {word.split("=")[0] for word in symmetric_run_words() if word.startswith("--")}
    assert {"--address", "--min-nodes"} <= used
    assert used <= own | of_ray_start


def test_symmetric_run_hands_the_rest_to_ray_start() -> None:
    values = {"$address": "10.0.0.1:6379", "$SLURM_JOB_NUM_NODES": "4", "$SLURM_CPUS_PER_TASK": "32"}
    words = [values.get(word, word) for word in symmetric_run_words()]
    assert curate_and_validate_ray_start_args(words) == ["--num-cpus", "32"]


@pytest.mark.parametrize("overrides", [[], ["run_dir=runs/first"], ["rounds=3"]])
def test_a_run_dir_that_other_nodes_do_not_see_is_refused(overrides: list[str]) -> None:
    refused = subprocess.run(["bash", str(SCRIPT), *overrides], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "run_dir must be an absolute path" in refused.stderr


@pytest.mark.parametrize("run_dir", ["/shared/runs/first", "s3://bucket/runs/first"])
def test_a_run_dir_that_all_nodes_see_is_accepted(run_dir: str, tmp_path: Path) -> None:
    later = subprocess.run(["bash", str(SCRIPT), f"run_dir={run_dir}"], cwd=tmp_path, capture_output=True, text=True)
    assert later.returncode != 2
    assert ".venv/bin/activate" in later.stderr


def test_cluster_authenticates_by_a_token_of_the_job() -> None:
    exported = re.findall(r"^export (.*)$", SCRIPT.read_text(), re.MULTILINE)
    assert {"RAY_AUTH_TOKEN", "RAY_AUTH_MODE=token"} <= set(" ".join(exported).split())


def test_slurm_warns_early_enough_for_the_last_round_to_be_saved() -> None:
    (seconds,) = re.findall(r"^#SBATCH --signal=B:TERM@(\d+)$", SCRIPT.read_text(), re.MULTILINE)
    assert int(seconds) >= 30
    assert "trap 'kill -TERM" in SCRIPT.read_text()
