"""Rounds as they end, for TensorBoard and Weights & Biases, each imported only if it is asked for."""

import dataclasses
import hashlib
import math
from typing import Any, Protocol

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.allocation import layer_coverage
from fedra_ray.federation.metrics import mean_metrics
from fedra_ray.federation.reports import RoundReport
from fedra_ray.federation.shards import accuracies, mean_accuracy
from fedra_ray.run_dir.folder import Folder, above


class Writer(Protocol):
    """Receives every finished round in order; a resumed run reports again those after its checkpoint."""

    def round(self, report: RoundReport) -> None:
        """Write the report of a finished round."""

    def close(self, summary: dict[str, Any] | None) -> None:
        """Finish with the run's summary, or with None if the run was stopped or has failed."""


def make_writers(config: ExperimentConfig) -> list[Writer]:
    """The writers that the configuration asks for.

    Raises:
        SettingError: if one lacks its package, or a local folder, or an account.
    """
    writers: list[Writer] = []
    if config.watch.tensorboard:
        writers.append(TensorBoard(config.run_dir))
    if config.watch.wandb is not None:
        writers.append(WeightsAndBiases(config, config.watch.wandb))
    return writers


def scalars(report: RoundReport) -> dict[str, float]:
    """The numbers of a round by name; a loss, accuracy or simulated time that it does not have is left out."""
    missing, scores = report.missing, report.scores
    numbers = {} if math.isnan(report.loss) else {"loss": report.loss}
    numbers |= {f"accuracy/{domain}": value for domain, value in accuracies(scores).items()}
    if scores:
        numbers["mean_accuracy"] = mean_accuracy(scores)
        numbers |= {f"mean_{name}": value for name, value in mean_metrics(scores).items()}
    numbers |= {f"seconds/{phase}": seconds for phase, seconds in report.phases.items()}
    if report.simulated_s is not None:
        numbers["simulated_seconds"] = report.simulated_s
    return numbers | {
        "bytes/up": report.bytes_up,
        "bytes/down": report.bytes_down,
        "bytes/fetched": report.bytes_fetched,
        "layer_coverage": layer_coverage(report.layer_holders),
        "clients/retries": report.retries,
        "clients/dropped": len(missing.dropped),
        "clients/late": len(missing.late),
        "clients/rejected": len(missing.rejected),
    }


class TensorBoard:
    """Event files in the folder `tensorboard` of a run.

    Args:
        run_dir: A local folder; it is not created before the first round.

    Raises:
        SettingError: for a URI, or without the package.
    """

    def __init__(self, run_dir: str) -> None:
        if "://" in run_dir:
            raise SettingError("watch.tensorboard", True, f"needs a local folder, and run_dir={run_dir} is a URI")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("watch.tensorboard", True, "tensorboard") from error
        self._open = SummaryWriter
        self._folder = str(Folder(run_dir).below("tensorboard"))
        self._events: SummaryWriter | None = None

    def round(self, report: RoundReport) -> None:
        """Write a round. The first one hides what an interrupted run wrote of that round and later ones."""
        if self._events is None:
            self._events = self._open(self._folder, purge_step=report.round)
        for name, value in scalars(report).items():
            self._events.add_scalar(name, value, report.round)
        self._events.flush()

    def close(self, summary: dict[str, Any] | None) -> None:
        """Close the file."""
        if self._events is not None:
            self._events.close()


class WeightsAndBiases:
    """A run of Weights & Biases for a run_dir: its id follows from the absolute path or URI.

    Rounds that W&B has already are left out. It knows them only with a network: offline, a resumed run writes the
    rounds after its checkpoint a second time, with the same values.

    Args:
        config: The experiment, which W&B shows.
        project: The project that the run belongs to.

    Raises:
        SettingError: without the package, or if W&B refuses, for example without a key.
    """

    def __init__(self, config: ExperimentConfig, project: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing("watch.wandb", project, "wandb") from error
        where = str(Folder(config.run_dir))
        try:
            self._run = wandb.init(
                project=project,
                id=hashlib.sha256(where.encode()).hexdigest()[:16],
                name=above(where)[1],
                resume="allow",
                reinit="create_new",  # beside the other runs of a sweep
                config=dataclasses.asdict(config),
            )
        except wandb.Error as error:
            raise SettingError("watch.wandb", project, f"Weights & Biases refuses: {error}") from error

    def round(self, report: RoundReport) -> None:
        """Report a round."""
        if report.round >= self._run.step:
            self._run.log(scalars(report), step=report.round, commit=True)

    def close(self, summary: dict[str, Any] | None) -> None:
        """Add the summary, and mark the run as finished or failed."""
        self._run.summary.update(summary or {})
        self._run.finish(exit_code=1 if summary is None else 0)


def _missing(setting: str, value: Any, package: str) -> SettingError:
    allowed = f"the package {package} cannot be imported; install it by: pip install 'fedra-ray[{package}]'"
    return SettingError(setting, value, allowed)
