"""The commands that repeat and resume a run, as a shell and Hydra read them."""

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedra_ray.cli.compose import compose_experiment
from fedra_ray.run_dir.command import repeat_command, resume_command


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("/runs/mine", "--config /runs/mine/config.yaml run_dir=/runs/mine-again"),
        ("/runs/mine/", "--config /runs/mine/config.yaml run_dir=/runs/mine-again"),
        (
            "s3://b/mine?region=eu",
            "--config 's3://b/mine/config.yaml?region=eu' 'run_dir='\"'\"'s3://b/mine-again?region=eu'\"'\"''",
        ),
    ],
)
def test_a_repeated_run_has_a_folder_of_its_own(where: str, expected: str) -> None:
    assert shlex.split(repeat_command(where)) == ["fedra-ray", "run", *shlex.split(expected)]


def test_a_resumed_run_keeps_its_folder() -> None:
    assert (
        resume_command("/runs/a,b") == """fedra-ray run --config /runs/a,b/config.yaml 'run_dir='"'"'/runs/a,b'"'"''"""
    )


@settings(max_examples=50)
@given(
    st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs", "Cc"]))
    | st.from_regex(r"[\\$\{\}a']{0,8}", fullmatch=True)
)
def test_any_folder_survives_the_shell_and_hydra(name: str) -> None:
    *_, config, run_dir = shlex.split(repeat_command(f"/{name}x"))
    assert config == f"/{name}x/config.yaml"
    assert compose_experiment([run_dir]).run_dir == f"/{name}x-again"


@pytest.mark.parametrize("name", ["$HOME", "${seed}", "\\${a}", "$(date)", "`date`", "it's $$", 'a"${b}"', "!$ #1; x"])
def test_a_folder_with_signs_of_the_shell_survives_a_real_one(name: str) -> None:
    command = repeat_command(f"/{name}").removeprefix("fedra-ray ")
    shown = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    verb, option, config, run_dir = shown.stdout.splitlines()
    assert (verb, option, config) == ("run", "--config", f"/{name}/config.yaml")
    assert compose_experiment([run_dir]).run_dir == f"/{name}-again"
