"""The driver: checks everything, connects to Ray, follows the server actor, and writes the results."""

import threading
from dataclasses import dataclass
from typing import Any

import ray

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.labels import experiment_label
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.data.dataset import in_numbers
from fedra_ray.federation.reports import Outcome
from fedra_ray.methods.draw import allocate
from fedra_ray.model.kernels import unavailable
from fedra_ray.model.weights import FrozenWeights
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir.claim import Claim, claim, prepare
from fedra_ray.run_dir.folder import Folder
from fedra_ray.runtime.connection import connected, nodes, refuse_excess
from fedra_ray.runtime.interruption import terminable
from fedra_ray.runtime.live import LiveRun
from fedra_ray.runtime.placement import SlotSpec, plan_slots, requested_slots
from fedra_ray.runtime.waiting import NoRoomError, Patience
from fedra_ray.watch import results
from fedra_ray.watch.display import Display
from fedra_ray.watch.writers import Writer, make_writers


@dataclass(frozen=True)
class CheckedRun:
    """A run that has been checked and not started.

    Attributes:
        blueprint: The experiment, with the depths that memory budgets have led to.
        weights: The frozen backbone.
        folder: The run directory.
        claim: The hold on that directory, to be released at the end; or the summary of the run that finished there.
        layers: How many layers each client of a cohort holds.
    """

    blueprint: Blueprint
    weights: FrozenWeights
    folder: Folder
    claim: Claim
    layers: list[int]


def run_experiment(config: ExperimentConfig) -> dict[str, Any]:
    """Run an experiment and return its summary.

    On SIGINT and SIGTERM the last finished round is saved.

    Raises:
        SettingError: before any actor starts, for a setting that cannot work.
        RunFailedError: if the run cannot be completed.
        KeyboardInterrupt: after an interruption; `Terminated` if it was SIGTERM.
    """
    display = Display(config)
    checked = check_run(config)
    finished = checked.claim.finished
    if finished is not None:
        display.say("this run is already finished; choose another run_dir to repeat it")
        display.summary(finished, str(checked.folder))
        return finished
    try:
        summary = _watched(checked, display)
    finally:
        checked.claim.release()
    display.summary(summary, str(checked.folder))
    return summary


def _watched(checked: CheckedRun, display: Display) -> dict[str, Any]:
    writers, summary = make_writers(checked.blueprint.config), None
    try:
        summary = _carry_out(checked, display, writers)
    finally:
        for writer in writers:
            writer.close(summary)
    return summary


def _carry_out(checked: CheckedRun, display: Display, writers: list[Writer]) -> dict[str, Any]:
    blueprint, runtime = checked.blueprint, checked.blueprint.config.runtime
    # in this order: connecting to Ray replaces the handler of SIGTERM
    with connected(runtime, requested_slots(len(checked.layers), runtime)) as private, terminable():
        specs = plan_slots(checked.layers, blueprint.num_layers, nodes(), runtime)
        if private:
            refuse_excess(specs, runtime)
        prepare(checked.folder, blueprint.config)
        display.say(_opening(blueprint, specs))
        for note in blueprint.dataset.notes:
            display.say(f"{blueprint.config.dataset.name}: {note}")
        if unavailable() is not None:
            display.say(f"local steps take the plain way, which is slower: {unavailable()}")
        lease = checked.claim.lease_name
        run = LiveRun(blueprint, ray.put(checked.weights), checked.layers, checked.folder, lease, display.say)
        try:
            outcome = _follow(run, display, writers, Patience(runtime.wait_s, display.say))
        except (KeyboardInterrupt, RunFailedError):
            display.say(f"stopped; the same command with run_dir={checked.folder} goes on from its last checkpoint")
            raise
        # in here: a job's working directory goes with its connection
        return results.write(checked.folder, blueprint, outcome, run.notices)


def check_run(config: ExperimentConfig) -> CheckedRun:
    """Check everything that can be checked without Ray, and claim the run directory.

    Raises:
        SettingError: for a setting that cannot work, or a run directory that holds something else or is in use.
    """
    folder = Folder(config.run_dir)
    blueprint, weights = check_experiment(config)
    layers = cohort_layers(blueprint)
    return CheckedRun(blueprint, weights, folder, claim(folder, blueprint.config), layers)


def cohort_layers(blueprint: Blueprint) -> list[int]:
    """How many layers each client of the largest cohort holds, from a draw of the method's allocation."""
    method, fleet = blueprint.method(), blueprint.fleet()
    depths = [depth for depth in fleet.possible_depths() if method.eligible(depth)]
    matrix = allocate(method, depths, blueprint.config.seed, 0)
    counts = sorted(matrix.sum(axis=1).tolist(), reverse=True)
    return [max(1, count) for count in counts[: fleet.cohort_size]] or [1]


def _follow(run: LiveRun, display: Display, writers: list[Writer], patience: Patience) -> Outcome:
    """Report rounds as they end; a run that is interrupted, or for which there is no room any more, is saved."""
    told = 0
    try:
        while not isinstance(event := run.next(), Outcome):
            if event is None:
                patience.look([run.stall()])
                continue
            display.round(event)
            if told == 0:  # not before, when the client actors load their own
                threading.Thread(target=results.load_libraries).start()
            if event.round > told:  # a new server repeats rounds
                told = event.round
                for writer in writers:
                    writer.round(event)
        return event
    except (KeyboardInterrupt, NoRoomError):
        run.save()
        raise
    finally:
        run.end()


def _opening(blueprint: Blueprint, specs: list[SlotSpec]) -> str:
    config = blueprint.config
    fleet = blueprint.fleet()
    drawn = "drawn from " if config.fleet.dynamic else ""
    return (
        f"{experiment_label(config)} with {config.backbone.name} on {config.dataset.name}: "
        f"{in_numbers(blueprint.dataset)}; {fleet.size} clients "
        f"({config.partition.name}), {fleet.cohort_size} per round, depths {drawn}{config.fleet.depths}, "
        f"{len(specs)} client actors"
    )
