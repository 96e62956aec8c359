"""Compare every method at equal memory of its clients, by ordinary runs, and leave the table.

    python -m analysis.equal_memory [--backbone glyph_vit] [--out equal_memory] [--processes 1] [SETTING=VALUE ...]

A client has the memory in which FedRA trains 12, 10, 8, 6, 4 or 3 of 12 blocks (fleet `paper`), or 6, 4 or 3
(`extreme6`, `extreme4`, `extreme3`), and trains as many blocks of any other method as fit: fewer where the others are
streamed through, or stand-ins take room. Of the same three learning rates each method keeps the one that is best on
validation after 10 rounds at a seed of its own, on `extreme4`, or on `paper` for Exclusive, in which nobody of
`extreme4` takes part. Then each runs on every fleet with three seeds for 15 rounds, measured on the test split.
AllLarge, the ceiling, ignores memory. Finished runs are kept, so that the command goes on where it was stopped; with
--table it runs nothing and reports what is there.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.equal_memory.contenders import ALIKE, CONTENDERS, FLEETS, UNBOUNDED, WHOLE, slug
from analysis.equal_memory.report import report
from analysis.runs.in_process import run_all
from analysis.runs.rates import at_rate, best_rate
from analysis.runs.reading import read_runs
from fedra_ray import compose
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError
from fedra_ray.cost.law import MEGABYTE
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir.claim import SUMMARY
from fedra_ray.run_dir.command import quoted

RATES = (0.01, 0.03, 0.1)
TUNING_SEED, TUNING_FLEET, TUNING_ROUNDS = 100, "extreme4", 10
ROUNDS = 15
_ROUNDING = 0.001  # megabytes, in which budgets are written

#: Overrides of runs, by their folder within the study's.
Runs = dict[str, list[str]]


def budgets(backbone: str, overrides: Sequence[str]) -> dict[int, float]:
    """The memory in megabytes (10^6 bytes) in which FedRA trains so many blocks, by their number."""
    plenty = f"fleet.memory_mb=[{','.join(['1e9'] * 6)}]"
    blueprint, _ = check_experiment(compose(f"backbone={backbone}", *overrides, plenty))
    cost, batch_size = blueprint.cost, blueprint.config.training.batch_size
    assert cost is not None  # budgets of memory need it
    return {d: cost.memory(d, batch_size) / MEGABYTE + _ROUNDING for d in range(1, cost.num_layers + 1)}


def tuning(contenders: Iterable[str], memory: dict[int, float]) -> Runs:
    """Every contender with every learning rate, on the validation split."""
    settings = [f"seed={TUNING_SEED}", f"rounds={TUNING_ROUNDS}", "evaluation.split=validation"]
    return {
        f"tune/{slug(name)}-{rate}": [*CONTENDERS[name], *at_rate(rate), *_clients(name, depths, memory), *settings]
        for name in contenders
        for depths in (FLEETS["paper" if name in WHOLE else TUNING_FLEET][0],)
        for rate in RATES
    }


def chosen(contenders: Iterable[str], summaries: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The learning rate with the best mean validation accuracy of every contender."""
    return {name: best_rate(RATES, f"tune/{slug(name)}", summaries) for name in contenders}


def comparison(rates: dict[str, float], memory: dict[int, float]) -> Runs:
    """Every contender at its learning rate: seed by seed, fleet by fleet."""
    runs: Runs = {}
    for seed in range(3):
        for fleet, depths in FLEETS.items():
            for name, rate in rates.items():
                if name in WHOLE and max(depths[seed]) < max(memory):
                    continue  # nobody could take part
                place = "paper" if name in ALIKE else fleet
                settings = [*CONTENDERS[name], *at_rate(rate), *_clients(name, depths[seed], memory)]
                runs.setdefault(f"{place}/{slug(name)}-{seed}", [*settings, f"seed={seed}", f"rounds={ROUNDS}"])
    return runs


def _clients(name: str, depths: Sequence[int], memory: dict[int, float]) -> list[str]:
    """The fleet: budgets of memory, but for a method that has no bound."""
    if name in UNBOUNDED:
        return [f"fleet.depths=[{','.join(map(str, depths))}]"]
    return [f"fleet.memory_mb=[{','.join(f'{memory[depth]:.3f}' for depth in depths)}]"]


def _carry_out(runs: Runs, out: Path, given: argparse.Namespace, title: str) -> dict[str, dict[str, Any]]:
    """Run what is not there yet."""
    first = [f"backbone={given.backbone}", f"evaluation.every={max(ROUNDS, TUNING_ROUNDS)}"]
    complete = {key: [*first, *own, *given.overrides, f"run_dir={quoted(str(out / key))}"] for key, own in runs.items()}
    return run_all(complete, given.processes, title)


def leave(given: argparse.Namespace) -> None:
    """Run the study as the command line asks for, and write its table."""
    out = given.out.resolve()
    if not given.table:
        memory = budgets(given.backbone, given.overrides)
        rates = chosen(given.contenders, _carry_out(tuning(given.contenders, memory), out, given, "tuning"))
        _carry_out(comparison(rates, memory), out, given, "measuring")
    names = {slug(name): name for name in CONTENDERS}
    ended = {fleet: sorted(str(file.parent) for file in (out / fleet).glob(f"*/{SUMMARY}")) for fleet in FLEETS}
    if not any(ended.values()):
        raise SettingError("--out", str(given.out), "has no finished run of this study")
    runs = {fleet: read_runs(places) for fleet, places in ended.items()}
    text = report(runs, names, ALIKE)
    (out / "equal_memory.md").write_text(text, encoding="utf-8")
    Console().print(text, soft_wrap=True, markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; returns the exit code, as of the commands of `fedra_ray`."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.equal_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backbone", default="glyph_vit", help="one of conf/backbone (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("equal_memory"), help="folder of the study")
    parser.add_argument("--processes", type=int, default=1, help="runs at once (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="run nothing; report the finished runs")
    parser.add_argument(
        "--contender", dest="contenders", action="append", choices=CONTENDERS, metavar="NAME", help="default: all"
    )
    parser.add_argument("overrides", nargs="*", metavar="SETTING=VALUE", help="settings of every run")
    given = parser.parse_args(arguments)
    given.contenders = given.contenders or list(CONTENDERS)
    return exit_code(lambda: leave(given))


if __name__ == "__main__":
    sys.exit(main())
