"""Compare methods on fleets in which nobody is deep, by ordinary runs, and leave the table.

    python -m analysis.beyond.compare [--dataset glyphs] [--backbone glyph_vit] [--fleets extreme3] [--seeds 0 1 2]

Every method gets the same learning rates at three blocks a client, at a seed of its own, and keeps the best one on
validation; with --tune-each-fleet, on every fleet anew. Then each runs on every fleet with every seed, measured on the
test split. Finished runs are kept, so that the command goes on where it was stopped, and the tables are of all that the
folder holds; SETTING=VALUE holds for every run.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.beyond.costs import BATCH, SHARES, equal_batch, law
from analysis.beyond.table import write
from analysis.runs.in_process import run_all
from analysis.runs.rates import at_rate, best_rate
from analysis.runs.reading import Run, read_runs
from fedra_ray import compose
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.law import CostModel
from fedra_ray.run_dir.claim import flat, shaping
from fedra_ray.run_dir.command import quoted

#: Overrides of every method, in the order in which they are run.
METHODS = {
    "alllarge": ["method=alllarge"],
    "headonly": ["method=headonly"],
    "suffix": ["method=suffix", "submodel=streamed"],
    "fedra": ["method=fedra"],
    "partial": ["method=partial"],
    "half": ["method=partial", f"method.options.share={SHARES['half']}"],
    "unbiased": ["method=partial", "method.options.unbiased=true"],
    "recomputed": ["method=alllarge", "submodel=recomputed"],
    "recomputed_half": ["method=alllarge", "submodel=recomputed"],
    "fedbrick": ["method=fedbrick"],
}
#: AllLarge by recomputation, with as many images a step as the FLOPs of this method at the fleet's depth pay for.
#: Its rate is lower by as much (`fedra_ray.methods.partial` names the rule).
EQUAL_FLOPS = {"recomputed": "partial", "recomputed_half": "half"}
#: Methods that take the learning rate of another, without tuning of their own.
TUNED_AS = dict.fromkeys([*EQUAL_FLOPS, "partial", "half", "unbiased"], "alllarge")
#: Methods whose runs are the same on every fleet of one depth, as all clients do the same whatever their depth.
DEPTHLESS = ("alllarge", "headonly")
RATES = (0.03, 0.1)
TUNING_SEED, TUNING_FLEET = 100, "extreme3"
ROUNDS, STEPS = 10, 10
#: Settings in which the runs of a comparison differ; all others are alike.
OWN = (
    *("method.", "submodel.", "fleet.depths", "fleet.dynamic", "evaluation.split"),
    *("training.lr", "training.head_lr", "training.batch_size"),
)

#: Overrides of runs by their directory below the folder of the comparison.
Runs = dict[str, list[str]]
#: Learning rates by method.
Rates = dict[str, float]


def own_rate(method: str, fleet: str, rate: float, cost: CostModel) -> float:
    """The learning rate of a method on a fleet, given the one that it was tuned at or takes from another."""
    if method not in EQUAL_FLOPS:
        return rate
    return float(f"{rate * _images(method, fleet, cost) / BATCH:.2g}")


def settings(method: str, fleet: str, cost: CostModel) -> list[str]:
    """Overrides of a method on a fleet."""
    own = [*METHODS[method], f"fleet={fleet}"]
    if method in EQUAL_FLOPS:
        own.append(f"training.batch_size={_images(method, fleet, cost)}")
    return own


def _images(method: str, fleet: str, cost: CostModel) -> int:
    """Images a step of a method of EQUAL_FLOPS."""
    return equal_batch(cost, min(compose(f"fleet={fleet}").fleet.depths), EQUAL_FLOPS[method])


def _place(method: str, fleet: str) -> str:
    """The folder of a method's runs on a fleet."""
    return "any" if method in DEPTHLESS else fleet


def tuning(methods: list[str], fleets: Iterable[str], rates: Sequence[float], cost: CostModel) -> Runs:
    """Every method with every learning rate on every fleet, on the validation split."""
    return {
        f"tune/{_place(method, fleet)}/{method}-{rate}": [
            *settings(method, TUNING_FLEET if method in DEPTHLESS else fleet, cost),
            *at_rate(rate),
            f"seed={TUNING_SEED}",
            "evaluation.split=validation",
        ]
        for fleet in fleets
        for method in sorted({TUNED_AS.get(method, method) for method in methods})
        for rate in rates
    }


def best_rates(methods: list[str], fleet: str, rates: Sequence[float], summaries: dict[str, dict[str, Any]]) -> Rates:
    """The learning rate with the best mean validation accuracy for every method on a fleet."""
    tuned = {method: TUNED_AS.get(method, method) for method in methods}
    return {method: best_rate(rates, f"tune/{_place(own, fleet)}/{own}", summaries) for method, own in tuned.items()}


def comparison(rates: Mapping[str, Rates], seeds: list[int], cost: CostModel) -> Runs:
    """Every method at its learning rate, by seed, fleet and method.

    Args:
        rates: By fleet and method.
        seeds: Of the runs.
        cost: Law of the backbone.
    """
    runs: Runs = {}
    for seed in seeds:
        for fleet, own_rates in rates.items():
            for method, rate in own_rates.items():
                own = settings(method, TUNING_FLEET if method in DEPTHLESS else fleet, cost)
                further = [*at_rate(own_rate(method, fleet, rate, cost)), f"seed={seed}"]
                runs[f"test/{_place(method, fleet)}/{method}-{seed}"] = [*own, *further]
    return runs


def shared(dataset: str, backbone: str) -> list[str]:
    """Overrides that every run begins with."""
    steps = [f"rounds={ROUNDS}", f"training.max_steps={STEPS}", f"evaluation.every={ROUNDS}"]
    return [f"dataset={dataset}", f"backbone={backbone}", *steps]


def placed(runs: Runs, out: Path, first: list[str], further: list[str]) -> Runs:
    """The runs with the settings that hold for all of them, and their directories."""
    return {key: [*first, *own, *further, f"run_dir={quoted(str(out / key))}"] for key, own in runs.items()}


def kept(out: Path, stage: str) -> list[Run]:
    """The finished runs of a stage, `tune` or `test`, in the folder of a comparison."""
    return read_runs([str(summary.parent) for summary in sorted(out.glob(f"{stage}/*/*/summary.json"))])


def check(runs: Iterable[Run], config: ExperimentConfig) -> None:
    """Refuse to put runs beside others of a comparison that were made by other settings.

    Args:
        runs: Those that the folder holds.
        config: What is to hold for every run, but for those settings in which they differ.

    Raises:
        SettingError: at the first difference.
    """
    wanted = shaping(dict(flat(dataclasses.asdict(config))))
    for run in runs:
        found = shaping(run.settings)
        for name in wanted | found:
            if not name.startswith(OWN) and wanted.get(name) != found.get(name):
                allowed = f"{run.folder} holds a run with {name}={found.get(name)}; choose another --out"
                raise SettingError(name, wanted.get(name), allowed)


def leave(arguments: argparse.Namespace) -> None:
    """Tune, run, and write the tables."""
    dataset, backbone = arguments.dataset, arguments.backbone
    out, cost = (arguments.out / f"{dataset}-{backbone}").resolve(), law(dataset, backbone)
    first, further = shared(dataset, backbone), arguments.overrides
    check([*kept(out, "tune"), *kept(out, "test")], compose(*first, *further))
    tuned_on = {fleet: fleet if arguments.tune_each_fleet else TUNING_FLEET for fleet in arguments.fleets}
    tried = tuning(arguments.methods, dict.fromkeys(tuned_on.values()), arguments.rates, cost)
    scores = run_all(placed(tried, out, first, further), arguments.processes, "tuning")
    rates = {fleet: best_rates(arguments.methods, own, arguments.rates, scores) for fleet, own in tuned_on.items()}
    run_all(placed(comparison(rates, arguments.seeds, cost), out, first, further), arguments.processes, "comparing")
    print(write(out, kept(out, "tune"), kept(out, "test")))


def main(given: list[str] | None = None) -> int:
    """Compare what the command line names; returns the exit code, as of the commands of `fedra_ray`."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.beyond.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", default="glyphs", help="of conf/dataset (default: %(default)s)")
    parser.add_argument("--backbone", default="glyph_vit", help="of conf/backbone (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--fleets", nargs="+", default=["extreme3", "extreme6"], help="of conf/fleet")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES), help="that every method gets")
    parser.add_argument("--tune-each-fleet", action="store_true", help="not at three blocks for all fleets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1, help="runs at once")
    parser.add_argument("--out", type=Path, default=Path("beyond"), help="folder to write")
    parser.add_argument("overrides", nargs="*", metavar="SETTING=VALUE", help="settings of every run")
    return exit_code(lambda: leave(parser.parse_args(given)))


if __name__ == "__main__":
    sys.exit(main())
