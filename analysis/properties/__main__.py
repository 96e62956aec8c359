"""Measures whether a data set and a backbone can tell methods for sub-models apart, without any federated run.

    python -m analysis.properties --dataset artwork --backbone artwork_vit [--seeds 0 1 2] [--out properties]

Any dataset= and backbone= of the configuration will do. Every seed's figures are kept in OUT as they are found, so that
the command goes on where it was stopped; the table of all is OUT/properties.csv and .md.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from analysis.properties.data import load_data
from analysis.properties.measure import Effort, Measuring, Properties
from analysis.properties.table import table
from fedra_ray import compose
from fedra_ray.cli.ending import exit_code
from fedra_ray.model.backbone import build, input_size
from fedra_ray.model.weights import from_weights, load_weights


def measure(dataset: str, backbone: str, seeds: list[int], effort: Effort, out: Path) -> list[Properties]:
    """Properties of every seed, read from `out` where they are there; the first seed chooses the learning rate.

    Raises:
        SettingError: for a data set or backbone that cannot be loaded.
    """
    kept = out / f"{dataset}-{backbone}.json"
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    if found and found["effort"] != asdict(effort):
        found = {}
    missing = [seed for seed in seeds if str(seed) not in found.get("seeds", {})]
    if missing:
        config = compose(f"dataset={dataset}", f"backbone={backbone}")
        weights = load_weights(config.backbone)
        data = load_data(config.dataset, config.backbone, input_size(build(config.backbone)))
        found = found or {"effort": asdict(effort), "rate": None, "seeds": {}}
        for seed in missing:
            measuring = Measuring(lambda: from_weights(config.backbone, weights), data, effort, seed, found["rate"])
            found["seeds"][str(seed)] = asdict(measuring.properties())
            found["rate"] = measuring.rate
            kept.write_text(json.dumps(found, indent=2) + "\n")
    return [Properties(**found["seeds"][str(seed)]) for seed in seeds]


def leave(arguments: argparse.Namespace) -> None:
    """Measure every backbone on the data set, and write the table."""
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    effort = Effort(arguments.steps, arguments.draws, arguments.bfloat16)
    names = [(dataset, backbone) for dataset in arguments.dataset for backbone in arguments.backbone]
    measured = {f"{d}, {b}": measure(d, b, arguments.seeds, effort, arguments.out) for d, b in names}
    rows = table(measured)
    rows.to_csv(arguments.out / "properties.csv", index=False)
    text = rows.to_markdown(index=False)
    (arguments.out / "properties.md").write_text(text + "\n")
    Console().print(text, soft_wrap=True)


def main(given: list[str] | None = None) -> int:
    """Measure what the command line names; returns the exit code, as of the commands of `fedra_ray`."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.properties",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", nargs="+", default=["artwork"], help="of conf/dataset")
    parser.add_argument("--backbone", nargs="+", default=["artwork_vit"], help="of conf/backbone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=Effort.steps, help="of LoRA on all domains; a third on one")
    parser.add_argument("--draws", type=int, default=Effort.draws, help="random halves of the blocks")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("properties"), help="folder to write")
    arguments = parser.parse_args(given)
    return exit_code(lambda: leave(arguments))


if __name__ == "__main__":
    sys.exit(main())
