"""Run the experiments behind every table and figure on the embedded benchmark, and draw them.

    python -m analysis.study [--backbone glyph_vit] [--stages methods] [--processes 2] [SETTING=VALUE ...]

1. tune: every method gets the same learning rates, judged by mean validation accuracy at seed 0;
2. methods: each at its best rate, every seed with another assignment of depths to domains;
3. fleets: the methods that depend on the fleet on further ones, of equal shallow clients and of changing depths;
4. extreme: all clients at 1, 2, 3, 4 and 6 blocks, drawn uniformly and as prefixes;
5. convergence: FedRA's four draws on fleets of the same total depth, from equal clients to very unequal ones.

Every run is an ordinary run directory, measured on the test split; finished ones are kept, so that an interrupted study
goes on where it stopped. Runs share the machine's cores as whole processes. --stages names some of the last four,
and --methods what is compared in them; --tuned takes the rates that another study chose in place of the first.
SETTING=VALUE holds for every run and takes precedence over what a stage sets: `rounds=2 training.max_steps=1` makes a
small study, and `dataset=artwork` one of the other embedded data.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.runs.in_process import run_all
from analysis.runs.rates import best_rate
from analysis.study.album import fill
from analysis.study.stages import (
    DEPTHS,
    METHODS,
    RATES,
    RECORDED,
    STAGES,
    Rates,
    Runs,
    compared,
    complete,
    tuning,
    tuning_at,
)
from analysis.study.tables import Summaries, write
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.claim import SUMMARY


def tuned_in(study: Path, names: Sequence[str], rates: Sequence[float]) -> dict[str, dict[str, Any]]:
    """The summaries of another study's tuning.

    Raises:
        SettingError: if a run of it is missing.
    """
    found = {}
    for method in names:
        for rate in rates:
            path = tuning_at(study, method, rate) / SUMMARY
            if not path.is_file():
                raise SettingError("--tuned", study, f"a study that tuned {method}, whose {path} is missing")
            found[f"{method}-{rate}"] = json.loads(path.read_text(encoding="utf-8"))
    return found


def best_rates(summaries: Summaries, names: Sequence[str], rates: Sequence[float]) -> Rates:
    """The rate with the best mean accuracy for each method, from the summaries of `tuning`."""
    return {method: best_rate(rates, method, summaries) for method in names}


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="glyph_vit", help="one of conf/backbone (default: %(default)s)")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES, help="after tuning (default: all)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="(default: all)")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="to try (default: 0.01 0.03 0.1)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], choices=DEPTHS, help="(default: 0 1 2)")
    parser.add_argument("--tuned", type=Path, metavar="STUDY", help="folder of a study whose learning rates are taken")
    parser.add_argument("--out", type=Path, help="folder of the study (default: studies/BACKBONE)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at once (default: all cores)")
    parser.add_argument("overrides", nargs="*", metavar="SETTING=VALUE", help="settings of every run")
    return parser.parse_args()


def main() -> None:
    """Run the study and print its tables."""
    arguments = options()
    names = compared(arguments.methods, arguments.stages)
    out = (arguments.out or Path("studies") / arguments.backbone).resolve()
    first = [f"backbone={arguments.backbone}"]
    if arguments.tuned:
        tuned = tuned_in(arguments.tuned, names, arguments.rates)
    else:
        runs = complete(tuning(out, names, arguments.rates), first, arguments.overrides)
        tuned = run_all(runs, arguments.processes, "tuning")
    best = best_rates(tuned, names, arguments.rates)
    stages: Runs = {}
    for stage in arguments.stages:
        stages |= STAGES[stage](out, best, arguments.seeds)
    runs = complete(stages, [*first, *RECORDED], arguments.overrides)
    write(run_all(runs, arguments.processes, "measuring"), best, out)
    sys.exit(fill(out))


if __name__ == "__main__":
    sys.exit(exit_code(main))
