"""The driver: checks everything, connects to Ray, follows the server actor, and writes the results."""

from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedra_ray import results
from fedra_ray.assembly import draw_up
from fedra_ray.backbone import Weights
from fedra_ray.blueprint import Blueprint
from fedra_ray.config import ExperimentConfig
from fedra_ray.display import Display
from fedra_ray.errors import RunFailedError
from fedra_ray.experiment import Outcome
from fedra_ray.run_dir import claim, prepare
from fedra_ray.runtime.connection import client_cpus, client_gpus, connected
from fedra_ray.runtime.placement import SERVER_CPUS, SlotSpec, plan_slots, requested_slots
from fedra_ray.runtime.server import Server
from fedra_ray.seeding import Purpose, generator


def run_experiment(config: ExperimentConfig) -> dict[str, Any]:
    """Run an experiment and return its summary.

    Raises:
        SettingError: before any actor starts, for a setting that cannot work.
        ClientLostError: if a client fails on every attempt.
    """
    display = Display(config)
    run_dir = Path(config.run_dir).expanduser().resolve()
    blueprint, weights = draw_up(config)
    finished = claim(run_dir, config)
    if finished is not None:
        display.say("this run is already finished; choose another run_dir to repeat it")
        display.summary(finished, str(run_dir))
        return finished
    layers = cohort_layers(blueprint)
    with connected(config.runtime, requested_slots(len(layers), config.runtime)):
        prepare(run_dir, config)
        specs = plan_slots(layers, blueprint.num_layers, client_cpus(), client_gpus(), config.runtime)
        display.say(_opening(blueprint, specs))
        try:
            outcome = _follow(_start_server(blueprint, weights, specs, run_dir), display)
        except (KeyboardInterrupt, RunFailedError):
            display.say(f"stopped; the same command with run_dir={run_dir} goes on from its last checkpoint")
            raise
    summary = results.write(run_dir, blueprint, outcome)
    display.summary(summary, str(run_dir))
    return summary


def cohort_layers(blueprint: Blueprint) -> list[int]:
    """How many layers each client of the largest cohort holds, from a draw of the method's allocation."""
    method, fleet = blueprint.method(), blueprint.fleet()
    depths = [depth for depth in fleet.possible_depths() if method.eligible(depth)]
    matrix = method.allocate(depths, generator(blueprint.config.seed, Purpose.ALLOCATION, 0))
    counts = sorted(matrix.sum(axis=1).tolist(), reverse=True)
    return [max(1, count) for count in counts[: fleet.cohort_size]]


def _start_server(
    blueprint: Blueprint, weights: Weights, specs: list[SlotSpec], run_dir: Path
) -> "ray.actor.ActorHandle[Any]":
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    remote: Any = ray.remote(Server)
    server = remote.options(num_cpus=SERVER_CPUS, scheduling_strategy=here)
    return server.remote(blueprint, [ray.put(weights)], specs, str(run_dir))


def _follow(server: Any, display: Display) -> Outcome:
    try:
        for reference in server.run.options(num_returns="streaming").remote():
            event = ray.get(reference)
            if isinstance(event, Outcome):
                return event
            display.round(event)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise RunFailedError(f"the server actor is gone: {error}") from error
    raise RunFailedError("the server actor ended without an outcome")


def _opening(blueprint: Blueprint, specs: list[SlotSpec]) -> str:
    config = blueprint.config
    fleet = blueprint.fleet()
    drawn = "drawn from " if config.fleet.dynamic else ""
    return (
        f"{config.method.name} with {config.backbone.name} on {config.dataset.name}: {fleet.size} clients "
        f"({config.partition.name}), {fleet.cohort_size} a round, depths {drawn}{config.fleet.depths}, "
        f"{len(specs)} client actors"
    )
