"""The commands that repeat and resume a run from the config.yaml in its folder."""

import re
import shlex

from fedra_ray.run_dir.claim import CONFIG
from fedra_ray.run_dir.folder import below, beside

_PLAIN = re.compile(r"[A-Za-z/_][\w./:@-]*", re.ASCII)  # text that needs no quotes in an override
_WORDS = ("null", "true", "false", "inf", "nan")


def repeat_command(where: str) -> str:
    """A shell command for a run with the same result, in a folder beside the first.

    Args:
        where: Path or URI of the run's folder.
    """
    return _command(where, beside(where, "-again"))


def resume_command(where: str) -> str:
    """A shell command that continues the run in a folder, given by its path or URI."""
    return _command(where, where)


def quoted(text: str) -> str:
    """A text as it is, in the grammar of Hydra's overrides."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # else it begins an interpolation
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", literal)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def _command(where: str, run_dir: str) -> str:
    return shlex.join(["fedra-ray", "run", "--config", below(where, CONFIG), f"run_dir={quoted(run_dir)}"])
