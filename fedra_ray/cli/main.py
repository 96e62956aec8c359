"""The entry point: picks the verb, reads its options and carries it out. Each verb is a module of this room.

Heavy imports wait until a verb needs them, so that --help answers at once.
"""

import sys

from fedra_ray.cli import plan, prepare, report, run, status, submit, sweep
from fedra_ray.cli.arguments import Parser, Verb, declare, named
from fedra_ray.cli.choices import overview
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError

VERBS: dict[str, Verb] = {
    "run": run,
    "sweep": sweep,
    "submit": submit,
    "status": status,
    "report": report,
    "plan": plan,
    "prepare": prepare,
}

_USAGE = "fedra-ray [VERB] [OPTIONS] [SETTING=VALUE ...]"
_DESCRIPTION = """\
Federated tuning of foundation models by clients of unequal size, on Ray.

  fedra-ray method=depthfl rounds=10     runs an experiment: without a verb, run is meant
  fedra-ray VERB --help                  explains a verb, with examples"""


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the whole command, whose help lists the verbs, and the parser of every verb."""
    command = Parser("fedra-ray", usage=_USAGE, description=_DESCRIPTION, epilog=overview())
    listed = command.add_subparsers(title="verbs", metavar="VERB", parser_class=Parser)
    verbs = {}
    for name, verb in VERBS.items():
        summary = (verb.__doc__ or "").partition("\n")[0]
        verbs[name] = listed.add_parser(name, prog=f"fedra-ray {name}", help=summary, description=verb.__doc__)
        declare(verb, verbs[name])
    return command, verbs


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line, that of this process if none is given; returns the exit code, as `exit_code` has it."""
    given = sys.argv[1:] if arguments is None else arguments

    def carry_out() -> None:
        command, verbs = parsers()
        if given and given[0] in ("-h", "--help"):
            command.print_help()
            return
        name, rest = named(given)
        if name not in VERBS:
            raise SettingError("verb", name, f"must be one of {', '.join(VERBS)}, or a setting as NAME=VALUE")
        VERBS[name].carry_out(*verbs[name].read(rest))

    return exit_code(carry_out)
