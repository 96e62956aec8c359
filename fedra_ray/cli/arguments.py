"""How the command line is read: its verb, then the verb's options and what else follows it."""

from argparse import ArgumentError, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import Any, NoReturn, Protocol


class Verb(Protocol):
    """What the module of a verb offers besides its docstring, which is its help.

    Attributes:
        OPERANDS: What stands beside the options: its name in the usage, and what it is.
    """

    OPERANDS: tuple[str, str]
    __doc__: str | None

    def add_options(self, parser: ArgumentParser, /) -> None:
        """Declare the options of the verb."""

    def carry_out(self, operands: list[str], options: Namespace, /) -> None:
        """Do what the verb is for; errors are raised."""


class Parser(ArgumentParser):
    """An argument parser whose errors are one line that says what is allowed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.formatter_class = RawDescriptionHelpFormatter
        self.allow_abbrev = False

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ArgumentError: always.
        """
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        raise ArgumentError(None, f"{message}; allowed is: {usage}")

    def read(self, arguments: list[str]) -> tuple[list[str], Namespace]:
        """The operands and the options of a verb, in any order; what follows `--` is an operand, whatever it is.

        Raises:
            ArgumentError: for an option that the verb does not have, or that lacks its value.
        """
        end = arguments.index("--") if "--" in arguments else len(arguments)
        options = self.parse_intermixed_args(arguments[:end])
        operands = options.operands + arguments[end + 1 :]
        del options.operands
        return operands, options


def declare(verb: Verb, parser: ArgumentParser) -> None:
    """Declare the options and operands of a verb."""
    verb.add_options(parser)
    name, text = verb.OPERANDS
    parser.add_argument("operands", nargs="*", metavar=name, help=text)


def named(arguments: list[str]) -> tuple[str, list[str]]:
    """The verb that a command line names, and the rest of it; without a name it is `run`."""
    if not arguments or "=" in arguments[0] or arguments[0].startswith(("-", "~")):
        return "run", arguments
    return arguments[0], arguments[1:]
