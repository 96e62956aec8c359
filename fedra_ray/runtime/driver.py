"""The driver: checks everything, connects to Ray, follows the server actor, and writes the results."""

from collections.abc import Callable
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
from fedra_ray.runtime.connection import connected, nodes
from fedra_ray.runtime.interruption import terminable
from fedra_ray.runtime.placement import SERVER_CPUS, SlotSpec, plan_slots, requested_slots
from fedra_ray.runtime.server import Server
from fedra_ray.seeding import Purpose, generator
from fedra_ray.storage import Folder

_GRACE_SECONDS = 20.0  # for the last finished round to be saved; clusters give 30 before they kill


def run_experiment(config: ExperimentConfig) -> dict[str, Any]:
    """Run an experiment and return its summary.

    On SIGINT and SIGTERM the last finished round is saved.

    Raises:
        SettingError: before any actor starts, for a setting that cannot work.
        RunFailedError: if the run cannot be completed.
        KeyboardInterrupt: after an interruption; `Terminated` if it was SIGTERM.
    """
    display = Display(config)
    folder = Folder(config.run_dir)
    blueprint, weights = draw_up(config)
    config = blueprint.config  # with the depths that memory budgets have led to
    finished = claim(folder, config)
    if finished is not None:
        display.say("this run is already finished; choose another run_dir to repeat it")
        display.summary(finished, str(folder))
        return finished
    layers = cohort_layers(blueprint)
    # in this order: connecting to Ray replaces the handler of SIGTERM
    with connected(config.runtime, requested_slots(len(layers), config.runtime)), terminable():
        prepare(folder, config)
        specs = plan_slots(layers, blueprint.num_layers, nodes(), config.runtime)
        display.say(_opening(blueprint, specs))
        try:
            outcome = _follow(lambda: _start_server(blueprint, weights, layers, folder), config, display)
        except (KeyboardInterrupt, RunFailedError):
            display.say(f"stopped; the same command with run_dir={folder} goes on from its last checkpoint")
            raise
    summary = results.write(folder, blueprint, outcome)
    display.summary(summary, str(folder))
    return summary


def cohort_layers(blueprint: Blueprint) -> list[int]:
    """How many layers each client of the largest cohort holds, from a draw of the method's allocation."""
    method, fleet = blueprint.method(), blueprint.fleet()
    depths = [depth for depth in fleet.possible_depths() if method.eligible(depth)]
    matrix = method.allocate(depths, generator(blueprint.config.seed, Purpose.ALLOCATION, 0))
    counts = sorted(matrix.sum(axis=1).tolist(), reverse=True)
    return [max(1, count) for count in counts[: fleet.cohort_size]] or [1]


def _start_server(blueprint: Blueprint, weights: Weights, layers: list[int], folder: Folder) -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    remote: Any = ray.remote(Server)
    # two threads: one runs the experiment, the other can save it at any time
    server = remote.options(num_cpus=SERVER_CPUS, scheduling_strategy=here, max_concurrency=2)
    return server.remote(blueprint, [ray.put(weights)], layers, str(folder))


def _follow(start: Callable[[], Any], config: ExperimentConfig, display: Display) -> Outcome:
    """Report rounds as they end. A server that is lost is started again, from the last checkpoint."""
    furthest = failures = 0
    while True:
        server = start()
        try:
            for reference in server.run.options(num_returns="streaming").remote():
                event = ray.get(reference)
                if isinstance(event, Outcome):
                    return event
                display.round(event)
                if event.round > furthest:
                    furthest, failures = event.round, 0
            raise RunFailedError("the server actor ended without an outcome")
        except KeyboardInterrupt:
            _save(server, display)
            raise
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            failures += 1
            if failures == config.runtime.max_attempts:
                raise RunFailedError(f"the server actor is gone: {error}") from error
            display.say("the server actor is gone; a new one goes on from the last checkpoint")


def _save(server: Any, display: Display) -> None:
    try:
        display.say(f"saved after round {ray.get(server.save.remote(), timeout=_GRACE_SECONDS)}")
    except (RayError, RunFailedError) as error:
        display.say(f"the last finished round could not be saved: {error}")


def _opening(blueprint: Blueprint, specs: list[SlotSpec]) -> str:
    config = blueprint.config
    fleet = blueprint.fleet()
    drawn = "drawn from " if config.fleet.dynamic else ""
    return (
        f"{config.method.name} with {config.backbone.name} on {config.dataset.name}: {fleet.size} clients "
        f"({config.partition.name}), {fleet.cohort_size} a round, depths {drawn}{config.fleet.depths}, "
        f"{len(specs)} client actors"
    )
