"""The verbs together: which one a command line means, what help says, and how commands end."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from fedra_ray.cli.arguments import named
from fedra_ray.cli.ending import exit_code
from fedra_ray.cli.main import VERBS, main
from fedra_ray.config.errors import RunFailedError, SettingError
from fedra_ray.config.paths import conf_dir
from fedra_ray.runtime.interruption import Terminated

GROUPS = ("method", "dataset", "backbone", "fleet", "partition", "experiment", "compat")


def test_help_names_every_verb_with_a_line_and_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'hydra', 'omegaconf', 'matplotlib', 'timm', 'peft'} & set(sys.modules)"
    code = f"import sys; from fedra_ray.cli.main import main; main(['--help']); print({heavy})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "    run       Run an experiment (the default verb)." in result.stdout
    assert all(f"\n    {verb} " in result.stdout for verb in VERBS)
    assert result.stdout.endswith("set()\n")


def test_help_names_every_choice_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    words = capsys.readouterr().out.replace(",", " ").replace("*", " ").split()
    for group in GROUPS:
        assert group in words
        choices = [path.relative_to(conf_dir() / group) for path in (conf_dir() / group).rglob("*.yaml")]
        assert choices
        assert {path.with_suffix("").as_posix() for path in choices} <= set(words)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: fedra-ray {verb} [-h]")
    assert f"\n  fedra-ray {verb} " in out


@pytest.mark.parametrize("arguments", [["tune"], ["rounds"], ["tune", "--help"]])
def test_an_unknown_verb_is_refused_with_the_known_ones(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: verb={arguments[0]}: must be one of {', '.join(VERBS)}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--wiat"], ["--wiat", "fedra-ray run", "--config"]),
        (["plan", "rounds=1", "--out=x"], ["--out=x", "fedra-ray plan", "--config"]),
        (["run", "--config"], ["--config", "expected one argument"]),
        (["run", "--conf=x"], ["--conf=x", "--config"]),
        (["report", "--out"], ["--out", "expected one argument"]),
        (["submit", "--cpus=many"], ["--cpus", "'many'"]),
        (["submit", "--", "run", "--wait"], ["--wait", "fedra-ray submit -- run"]),
    ],
)
def test_an_option_that_a_verb_lacks_is_refused_with_its_own(
    arguments: list[str], expected: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert [part for part in expected if part not in line] == []


@pytest.mark.parametrize("verb", ["status", "report"])
def test_a_verb_that_reads_folders_wants_one(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 2
    assert capsys.readouterr().err.startswith("error: RUN_DIR=: name the folder of a ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("run", [])),
        (["seed=1"], ("run", ["seed=1"])),
        (["--multirun", "seed=1"], ("run", ["--multirun", "seed=1"])),
        (["~method.options.momentum"], ("run", ["~method.options.momentum"])),
        (["sweep", "seed=1,2"], ("sweep", ["seed=1,2"])),
    ],
)
def test_without_a_verb_run_is_meant(arguments: list[str], expected: tuple[str, list[str]]) -> None:
    assert named(arguments) == expected


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingError("rounds", 0, "must be\nat least 1"), 2),
        (RunFailedError("lost"), 1),
        (OSError("no space left"), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
        (SystemExit(2), 2),
    ],
)
def test_an_error_ends_in_its_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert exit_code(raising(error)) == code
    assert len(capsys.readouterr().err.splitlines()) == (isinstance(error, Exception))


def test_a_programming_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()))
