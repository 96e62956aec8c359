"""The tables of a plan, as a person reads them."""

import math

from rich.console import Console
from rich.table import Table

from fedra_ray.config.labels import experiment_label
from fedra_ray.config.units import clock, scaled
from fedra_ray.cost.plan import Plan, PlanConfig, PlannedExperiment
from fedra_ray.cost.rounds import Downloads
from fedra_ray.cost.simulation import Simulation
from fedra_ray.federation.allocation import Coverage


def show(plan: Plan, config: PlannedExperiment) -> None:
    """Print a plan as tables: a client of each tier, its slot if there are GPUs, and the whole experiment."""
    console = Console(highlight=False)
    for line in plan.data:
        console.print(f"{config.dataset.name}: {line}", markup=False, soft_wrap=True)
    console.print(_clients(plan, config.fleet.storage == "fetched"))
    if config.runtime.num_gpus:
        console.print(_slots(plan, config.plan))
    if plan.simulation:
        console.print(_devices(plan.simulation))
    console.print(_totals(plan, config))


def _clients(plan: Plan, fetched: bool) -> Table:
    alike = all(tier.traffic.up == tier.traffic.down for tier in plan.tiers)
    ways = ["each way"] if alike else ["up", "down"]
    header = ["blocks", "clients", "values", *ways, "steps", "compute", "memory", *["fetched"] * fetched]
    table = _table("per client and round", header)
    for tier in plan.tiers:
        table.add_row(
            str(tier.layers),
            _number(tier.clients),
            f"{tier.parameters:,}",
            *[scaled(way, "B") for way in tier.traffic[: len(ways)]],
            f"{tier.steps:,.4g}",
            scaled(tier.flops, "FLOP"),
            scaled(tier.memory, "B"),
            *[scaled(tier.fetched, "B")] * fetched,
        )
    return table


def _slots(plan: Plan, settings: PlanConfig) -> Table:
    header = ["blocks", "memory", "GPU share", "slots per GPU", f"fits {settings.gpu_memory_gb:g} GB"]
    table = _table("per slot, a process with the whole frozen model", header)
    for tier in plan.tiers:
        fits = "yes" if tier.fits else "no"
        table.add_row(
            str(tier.layers), scaled(tier.slot_memory, "B"), f"{tier.gpu_share:.3g}", str(tier.slots_per_gpu), fits
        )
    return table


def _devices(simulation: Simulation) -> Table:
    header = ["device", "clients", "down", "compute", "up", "memory", "has", "fits"]
    table = _table("seconds per simulated device and round, at its slowest client", header)
    for share in simulation.devices:
        seconds = (share.slowest.download, share.slowest.training, share.slowest.upload)
        memory = (scaled(share.memory, "B"), scaled(share.budget, "B"), "yes" if share.fits else "no")
        table.add_row(share.device, _number(share.clients), *map(_number, seconds), *memory)
    return table


def _totals(plan: Plan, config: PlannedExperiment) -> Table:
    settings = config.plan
    rounds = config.rounds
    devices = "1 device" if settings.devices == 1 else f"{settings.devices} devices"
    evaluation = scaled(plan.evaluation_flops, "FLOP") if plan.evaluation_flops else "not counted without the data set"
    per_hour = scaled(3600 * rounds / plan.seconds)
    time = clock(math.ceil(plan.seconds))
    table = Table(title=f"{experiment_label(config)} with {config.backbone.name}, {rounds} rounds", show_header=False)
    table.add_row("data moved per round", scaled(plan.round_bytes, "B"))
    table.add_row("data moved in all", scaled(rounds * plan.round_bytes, "B"))
    if plan.downloads:
        table.add_row(f"frozen weights, {config.fleet.storage}", _downloads(plan.downloads))
    table.add_row("training per round", scaled(plan.round_flops, "FLOP"))
    table.add_row("training in all", scaled(rounds * plan.round_flops, "FLOP"))
    table.add_row(f"evaluation, {plan.evaluations} times", evaluation)
    table.add_row(f"{devices} of {settings.tflops:g} TFLOP/s", f"at best {per_hour} rounds per hour, {time} in all")
    if plan.simulation:
        table.add_row("time on simulated devices", f"{_number(plan.simulation.seconds / 3600)} hours")
    table.add_row("layers without a holder", _coverage(plan.coverage))
    return table


def _downloads(downloads: Downloads) -> str:
    total = f"{scaled(downloads.total, 'B')} in {downloads.rounds} rounds"
    return f"{scaled(downloads.first, 'B')} in the first round, {total}"


def _coverage(coverage: Coverage) -> str:
    if coverage.probability is None:
        return f"{coverage.uncovered:g} in a drawn round"
    return f"{coverage.uncovered:.2f} expected; at least one in {coverage.probability:.0%} of rounds"


def _table(title: str, header: list[str]) -> Table:
    table = Table(title=title)
    for name in header:
        table.add_column(name, justify="right")
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
