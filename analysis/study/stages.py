"""What the study runs: every stage as the overrides of its runs, by key."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

from analysis.runs.rates import at_rate
from fedra_ray.run_dir.command import quoted

METHODS = {
    "AllLarge": ["method=alllarge"],
    "FedRA": ["method=fedra"],
    "DepthFL": ["method=depthfl"],
    "InclusiveFL": ["method=inclusivefl"],
    "InclusiveFL, no distillation": ["method=inclusivefl", "method.options.momentum=0"],
    "Exclusive": ["method=exclusive"],
    "AllSmall": ["method=allsmall"],
    "Head only": ["method=headonly"],
}
RATES = (0.01, 0.03, 0.1)
TUNING_ROUNDS = 15
GRID_ROUNDS = 20  # of the stages on the draws of FedRA
DEPTHS = {
    0: [12, 10, 8, 6, 4, 3],
    1: [3, 4, 6, 8, 10, 12],
    2: [8, 3, 12, 4, 6, 10],
    3: [4, 12, 10, 3, 8, 6],
    4: [10, 6, 4, 12, 3, 8],
}
#: Of the same total depth; by seed, the domains change places as they do in DEPTHS.
FLEETS = {"equal": [8, 7, 7, 7, 7, 7], "mild": [9, 8, 7, 7, 6, 6], "paper": [12, 10, 8, 6, 4, 3]}
DRAWS = ("uniform", "covering", "balanced", "prefix")
SHALLOW = (1, 2, 3, 4, 6)
#: Fleets of conf/fleet beside the paper's, and the methods whose results depend on the fleet and that train on all.
FURTHER_FLEETS = ("extreme3", "extreme4", "extreme6", "dynamic")
FLEET_METHODS = ("FedRA", "DepthFL", "InclusiveFL", "AllSmall")
#: What a client of each of the paper's depths might be; it changes no result, and gives every round a simulated time.
DEVICES = {12: "workstation", 10: "workstation", 8: "edge_gpu", 6: "edge_gpu", 4: "laptop", 3: "phone"}
RECORDED = ["checkpoint.every=10", "checkpoint.keep=100"]

#: Overrides of every run of a stage, by key.
Runs = dict[str, list[str]]
#: The learning rate of every method.
Rates = dict[str, float]


def complete(runs: Runs, first: list[str], last: list[str]) -> Runs:
    """The runs with settings that hold unless their stage sets others, and with settings that hold in any case."""
    return {key: [*first, *own, *last] for key, own in runs.items()}


def tuning(out: Path, names: Iterable[str], rates: Sequence[float]) -> Runs:
    """Each of these methods with every learning rate, on the validation split."""
    return {
        f"{method}-{rate}": [
            *METHODS[method],
            *at_rate(rate),
            f"rounds={TUNING_ROUNDS}",
            "evaluation.split=validation",
            _at(tuning_at(out, method, rate)),
        ]
        for method in names
        for rate in rates
    }


def methods(out: Path, best: Rates, seeds: Sequence[int]) -> Runs:
    """Every tuned method at its best rate, with every seed."""
    return {
        f"{method}/{seed}": [
            *METHODS[method],
            *at_rate(rate),
            *_fleet(seed, DEPTHS[seed]),
            "evaluation.every=10",
            f"fleet.devices={_listed(DEVICES[depth] for depth in DEPTHS[seed])}",
            _at(out / "test" / f"{slug(method)}-{seed}"),
        ]
        for seed in seeds
        for method, rate in best.items()
    }


def fleets(out: Path, best: Rates, seeds: Sequence[int]) -> Runs:
    """The methods that depend on the fleet, on further ones, with every seed."""
    return {
        f"{method} {fleet}/{seed}": [
            *METHODS[method],
            *at_rate(best[method]),
            f"seed={seed}",
            f"fleet={fleet}",
            "evaluation.every=10",
            _at(out / "fleets" / f"{slug(method)}-{fleet}-{seed}"),
        ]
        for seed in seeds
        for fleet in FURTHER_FLEETS
        for method in FLEET_METHODS
        if method in best
    }


def extreme(out: Path, best: Rates, seeds: Sequence[int]) -> Runs:
    """Fleets in which nobody is deep, with every seed, and the head alone after as many rounds."""
    alone = {
        f"head alone/{seed}": [
            *METHODS["Head only"],
            *at_rate(best["Head only"]),
            *_fleet(seed, DEPTHS[seed]),
            f"rounds={GRID_ROUNDS}",
            _at(out / "extreme" / f"head-only-{seed}"),
        ]
        for seed in seeds
    }
    return alone | {
        f"{draw} {depth}/{seed}": [
            *at_rate(best["FedRA"]),
            *_fleet(seed, [depth] * 6),
            f"method.options.draw={draw}",
            f"rounds={GRID_ROUNDS}",
            _at(out / "extreme" / f"{draw}-{depth}-{seed}"),
        ]
        for seed in seeds
        for depth in SHALLOW
        for draw in ("uniform", "prefix")
    }


def convergence(out: Path, best: Rates, seeds: Sequence[int]) -> Runs:
    """FedRA's draws on fleets of one total depth, with every seed."""
    return {
        f"{draw} {fleet}/{seed}": [
            *at_rate(best["FedRA"]),
            *_fleet(seed, _permuted(depths, seed)),
            f"rounds={GRID_ROUNDS}",
            "evaluation.every=5",
            f"method.options.draw={draw}",
            _at(out / "convergence" / f"{draw}-{fleet}-{seed}"),
        ]
        for seed in seeds
        for fleet, depths in FLEETS.items()
        for draw in DRAWS
    }


#: The stages after tuning, and the methods that each compares in any case.
STAGES: dict[str, Callable[[Path, Rates, Sequence[int]], Runs]] = {
    "methods": methods,
    "fleets": fleets,
    "extreme": extreme,
    "convergence": convergence,
}
NEEDED = {"extreme": {"FedRA", "Head only"}, "convergence": {"FedRA"}}


def compared(asked: Iterable[str], stages: Iterable[str]) -> list[str]:
    """The methods to tune: those that are asked for, and those that the stages need."""
    wanted = {*asked, *chain.from_iterable(NEEDED.get(stage, ()) for stage in stages)}
    return [name for name in METHODS if name in wanted]


def slug(method: str) -> str:
    """A method's name as part of a folder's."""
    return method.lower().replace(",", "").replace(" ", "-")


def tuning_at(study: Path, method: str, rate: float) -> Path:
    """The run directory of a method's tuning at a learning rate."""
    return study / "tune" / f"{slug(method)}-{rate}"


def _at(run_dir: Path) -> str:
    return f"run_dir={quoted(str(run_dir))}"


def _fleet(seed: int, depths: list[int]) -> list[str]:
    return [f"seed={seed}", f"fleet.depths={_listed(depths)}"]


def _permuted(depths: list[int], seed: int) -> list[int]:
    """Depths in the places that the paper's have with this seed: the largest where 12 is, and so on."""
    return [sorted(depths, reverse=True)[sorted(DEPTHS[seed], reverse=True).index(place)] for place in DEPTHS[seed]]


def _listed(values: Iterable[object]) -> str:
    return f"[{','.join(map(str, values))}]"
