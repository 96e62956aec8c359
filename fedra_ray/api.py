"""Experiments from Python: run one, and look at its result without reading files by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
from safetensors.numpy import load

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.federation.state import Vector
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import read_table


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        run_dir: Its folder or URI.
        summary: The content of summary.json: accuracy by domain and its mean (fractions between 0 and 1), seconds,
            bytes, versions.
    """

    run_dir: str
    summary: dict[str, Any]

    @property
    def accuracy(self) -> dict[str, float]:
        """Top-1 accuracy of the final model by domain, a fraction between 0 and 1."""
        return dict(self.summary["accuracy"])

    @property
    def mean_accuracy(self) -> float:
        """The mean of `accuracy` over domains."""
        return float(self.summary["mean_accuracy"])

    @cached_property
    def rounds(self) -> pa.Table:
        """One row per round: loss, cohort, holders of every layer, bytes, seconds (`run_dir.records.SCHEMAS`)."""
        return read_table(Folder(self.run_dir), "rounds")

    @cached_property
    def clients(self) -> pa.Table:
        """One row per client and round: its domain, depth, layers, loss, steps, bytes and seconds."""
        return read_table(Folder(self.run_dir), "clients")

    @cached_property
    def evaluations(self) -> pa.Table:
        """One row per evaluated round and domain: examples, top-1 and top-5 accuracy, loss."""
        return read_table(Folder(self.run_dir), "evaluations")

    @cached_property
    def adapter(self) -> dict[str, Vector]:
        """The final LoRA factors and head by the names that PEFT gives them.

        A target's last ranks are not there if no client has had them (`lora.ranks`).
        """
        content = Folder(self.run_dir).below("adapter").read("adapter_model.safetensors")
        if content is None:
            raise RunFailedError(f"{self.run_dir} has no adapter")
        return load(content)


def run_experiment(config: ExperimentConfig) -> Result:
    """Run an experiment on Ray, as the command line does, or resume the one in its run_dir.

    Raises:
        SettingError: before any actor starts, for a setting that cannot work.
        RunFailedError: if the run cannot be completed.
    """
    from fedra_ray.runtime.environment import declare

    declare(config.runtime.address)  # before ray is imported, which reads its environment then
    from fedra_ray.runtime import driver

    return Result(config.run_dir, driver.run_experiment(config))


def run_local(config: ExperimentConfig, on_round: Callable[[RoundReport], object] | None = None) -> Result:
    """Run an experiment in this process, without Ray; the result is bit for bit that of `run_experiment`.

    Args:
        config: The experiment; `runtime` is ignored.
        on_round: Called with the report of every finished round.

    Raises:
        SettingError: for a setting that cannot work.
        RunFailedError: if the run cannot be completed.
    """
    from fedra_ray import experiment
    from fedra_ray.client.host import ClientHost
    from fedra_ray.preflight import check_experiment
    from fedra_ray.run_dir.claim import claim, prepare
    from fedra_ray.run_dir.journal import Journal
    from fedra_ray.watch import results

    folder = Folder(config.run_dir)
    blueprint, weights = check_experiment(config)
    claimed = claim(folder, blueprint.config)
    if claimed.finished is not None:
        return Result(config.run_dir, claimed.finished)
    try:
        prepare(folder, blueprint.config)
        for event in experiment.run(blueprint, ClientHost(blueprint, weights), Journal(folder, blueprint.config)):
            if isinstance(event, Outcome):
                return Result(config.run_dir, results.write(folder, blueprint, event))
            if on_round is not None:
                on_round(event)
    finally:
        claimed.release()
    raise RunFailedError(f"{folder}: the experiment ended without an outcome")
