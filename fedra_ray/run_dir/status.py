"""Where a run is, from its folder alone: what its last save has left there."""

from dataclasses import dataclass
from datetime import datetime
from statistics import mean, median

from fedra_ray.config.labels import method_label
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.claim import CONFIG, PARTITION
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.reading import RunFiles, checked, read_files
from fedra_ray.run_dir.records import Row, has_table, hours, times

#: Columns that are read; those that list whole cohorts would take long.
_COLUMNS = {
    "rounds": ["round", "seconds", "train_loss", "dropped", "late", "rejected", "simulated_s"],
    "evaluations": ["round", "domain", "top1"],
}


@dataclass(frozen=True)
class Status:
    """Where a run is.

    Attributes:
        run_dir: Its folder.
        method: Label of its method.
        backbone: Name of its backbone.
        dataset: Name of its data set.
        state: finished, not finished, or not started.
        rounds: How many rounds it is to have.
        done: How many need not be computed again: all of a finished run, otherwise those of the newest checkpoint.
        saved: When the newest checkpoint was written, if there is one and the file system tells.
        seconds: Median wall time of a round in seconds; None before the first save.
        loss: Training loss of the last round done, not a number if it had no valid update; None before the first save.
        evaluated: The round that was evaluated last; None if none was.
        accuracy: Top-1 accuracy after it, by domain.
        missing: By reason (dropped, late, rejected) and client, in how many rounds its update was missing.
        simulated_hours: Time on simulated devices; None without them.
    """

    run_dir: str
    method: str
    backbone: str
    dataset: str
    state: str
    rounds: int
    done: int
    saved: datetime | None
    seconds: float | None
    loss: float | None
    evaluated: int | None
    accuracy: dict[str, float]
    missing: dict[str, dict[str, int]]
    simulated_hours: float | None

    @property
    def seconds_left(self) -> float | None:
        """Wall time of the rounds that are left, at the median so far; None if that is not known yet."""
        return None if self.seconds is None else self.seconds * (self.rounds - self.done)

    @property
    def mean_accuracy(self) -> float | None:
        """The mean over domains; None if nothing was evaluated."""
        return mean(self.accuracy.values()) if self.accuracy else None


def where(folder: Folder) -> Status:
    """Read where the run in a folder is. Nothing is written.

    Raises:
        SettingError: if the folder holds no run, or files that cannot be those of one.
    """
    run, names = read_files(folder), folder.names()
    with checked(folder, CONFIG):
        rounds = int(run.settings["rounds"])
        method = method_label(run.settings)
        backbone, dataset = (str(run.settings[f"{part}.name"]) for part in ("backbone", "dataset"))
    with checked(folder, checkpoint.FOLDER):
        done, saved = checkpoint.last_saved(folder)
    finished = run.summary is not None
    done = rounds if finished else done
    history = [row for row in _rows(run, "rounds") if row["round"] <= done]
    scores = [row for row in _rows(run, "evaluations") if row["round"] <= done]
    evaluated = max((row["round"] for row in scores), default=None)
    return Status(
        run_dir=str(folder),
        method=method,
        backbone=backbone,
        dataset=dataset,
        state="finished" if finished else "not finished" if PARTITION in names else "not started",
        rounds=rounds,
        done=done,
        saved=saved,
        seconds=median(row["seconds"] for row in history) if history else None,
        loss=history[-1]["train_loss"] if history else None,
        evaluated=evaluated,
        accuracy={row["domain"]: row["top1"] for row in scores if row["round"] == evaluated},
        missing={reason: times(row[reason] for row in history) for reason in ("dropped", "late", "rejected")},
        simulated_hours=hours(row["simulated_s"] for row in history),
    )


def _rows(run: RunFiles, name: str) -> list[Row]:
    """The rows of a table of the run; none before the first save."""
    if not has_table(run.folder, name):
        return []
    rows: list[Row] = run.table(name, _COLUMNS[name]).to_pylist()
    return rows
