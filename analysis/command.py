"""What the commands of the analyses have in common: the runs that they name, and their options."""

import argparse
from collections.abc import Callable, Sequence

from analysis.runs.reading import read_runs
from fedra_ray.cli.ending import exit_code

#: Adds one option to a command.
Option = Callable[[argparse.ArgumentParser], object]


def rounds(default: str) -> Option:
    """The option that chooses rounds; `default` says which are taken otherwise."""
    text = f"of those kept (default: {default})"
    return lambda parser: parser.add_argument("--rounds", type=int, nargs="+", metavar="ROUND", help=text)


def images(default: int, of: str) -> Option:
    """The option that chooses how many images are taken of a domain, a split or the like, which `of` names."""
    return lambda parser: parser.add_argument(
        "--images", type=int, default=default, help=f"of {of} (default: %(default)s)"
    )


def answer(
    name: str, description: str | None, leave: Callable[..., None], arguments: Sequence[str] | None, *options: Option
) -> int:
    """Answer a question about runs as a command.

    Args:
        name: Name of the question's module in `analysis.questions`.
        description: Its docstring.
        leave: Writes the answer; called with the finished runs, the folder or URI to write into, and the value of every
            further option by its name.
        arguments: Arguments of the command line; None takes those of the process.
        options: Further options of the command.

    Returns:
        The exit code, as of the commands of `fedra_ray`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m analysis.questions.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_runs(parser)
    parser.add_argument("--out", default="figures", metavar="FOLDER", help="where to write (default: %(default)s)")
    for add in options:
        add(parser)
    given = vars(parser.parse_args(arguments))
    runs, out = given.pop("runs"), given.pop("out")
    return exit_code(lambda: leave(read_runs(runs), out, **given))


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Let the user of a command name runs."""
    text = "directory of a finished run, local or a URI; unfinished ones are left out"
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help=text)
