"""The facts of a finished run, read from its folder alone: checked, and small whatever the size of the run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedra_ray.config.labels import method_label
from fedra_ray.run_dir.claim import CONFIG, SUMMARY
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.reading import checked, read_finished
from fedra_ray.run_dir.records import Row

MOST_CLIENTS = 40  # more rows than this are drawn by depth
REASONS = ("dropped", "late", "rejected")


@dataclass(frozen=True)
class Cost:
    """What a run took.

    Attributes:
        seconds: Wall time of its rounds.
        simulated_hours: Time on simulated devices; None without them.
        bytes_up: Bytes of the adapter values that clients sent.
        bytes_down: Bytes of those that were sent to clients.
        bytes_fetched: Bytes of the frozen weights that clients downloaded; None if the run did not count them.
        missing: By reason (dropped, late, rejected) and client, in how many rounds its update was missing.
        skipped: Images that could not be read.
    """

    seconds: float
    simulated_hours: float | None
    bytes_up: int
    bytes_down: int
    bytes_fetched: int | None
    missing: dict[str, dict[str, int]]
    skipped: int


@dataclass(frozen=True)
class Holdings:
    """Which layers clients held.

    Attributes:
        names: What the rows are: clients with domain and depth, or depths with their number of clients.
        by_depth: Whether they are depths.
        share: (rows, layers), the share of a row's averaged updates that had the layer, from 0 to 1.
    """

    names: list[str]
    by_depth: bool
    share: NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """A finished run.

    Attributes:
        where: Its folder.
        config: The text of its config.yaml.
        settings: The settings in it, by dotted name.
        method: The method's label.
        dataset: Name of the data set.
        backbone: Name of the backbone.
        partition: Name of the partition.
        clients: Size of the fleet.
        seed: Seed of all its random draws.
        rounds: Number of its rounds.
        split: The images it was evaluated on.
        accuracy: Top-1 accuracy by domain, from 0 to 1.
        mean: Their mean.
        metrics: What else was found on every domain, by name and domain; empty of earlier versions.
        mean_metrics: Their means.
        scores: Rows of every evaluation: round, domain, examples, top1, top5, loss.
        numbers: (rounds,), the numbers of the rounds.
        losses: (rounds,), training loss; not a number where no client was averaged.
        holders: (rounds, layers), how many averaged clients held the layer.
        evaluated: The layers of the model that was evaluated.
        holdings: Who held which layer.
        cost: What it took.
        versions: Version of every package that matters, by its name.
        commit: Commit of the checkout that ran; None if it was none.
    """

    where: str
    config: str
    settings: dict[str, Any]
    method: str
    dataset: str
    backbone: str
    partition: str
    clients: int
    seed: int
    rounds: int
    split: str
    accuracy: dict[str, float]
    mean: float
    metrics: dict[str, dict[str, float]]
    mean_metrics: dict[str, float]
    scores: list[Row]
    numbers: NDArray[np.int32]
    losses: NDArray[np.float64]
    holders: NDArray[np.int32]
    evaluated: list[int]
    holdings: Holdings
    cost: Cost
    versions: dict[str, str]
    commit: str | None


def read(folder: Folder, summary: dict[str, Any] | None = None) -> Facts:
    """Read the facts of a finished run.

    Args:
        folder: Its directory.
        summary: What is to become its summary.json; None reads that.

    Raises:
        SettingError: if the folder holds no finished run, or files that cannot be those of one.
    """
    run = read_finished(folder, summary)
    with checked(folder, CONFIG):
        configured: dict[str, Any] = {
            "method": method_label(run.settings),
            "clients": int(run.settings["fleet.num_clients"]),
        }
    rounds = run.table("rounds", ["round", "train_loss", "layer_holders"])
    with checked(folder, "rounds.parquet"):
        holders = rounds["layer_holders"].combine_chunks().flatten().to_numpy().reshape(len(rounds), -1)
    clients = run.table("clients", ["client", "domain", "depth", "layers"])
    with checked(folder, "clients.parquet"):
        holdings = _holdings(clients.combine_chunks(), holders.shape[1])
    scores = run.table("evaluations", ["round", "domain", "examples", "top1", "top5", "loss"])
    with checked(folder, SUMMARY):
        return Facts(
            where=str(folder),
            config=run.text,
            settings=run.settings,
            **configured,
            **_told(run.summary),
            scores=scores.to_pylist(),
            numbers=rounds["round"].to_numpy(),
            losses=rounds["train_loss"].to_numpy(),
            holders=holders,
            holdings=holdings,
        )


def _told(summary: dict[str, Any]) -> dict[str, Any]:
    """The content of summary.json, in the types of `Facts`."""
    missing = {reason: {str(client): int(times) for client, times in summary[reason].items()} for reason in REASONS}
    hours = summary["simulated_hours"]
    fetched = summary.get("bytes_fetched")  # earlier versions did not count it
    return {
        **{name: str(summary[name]) for name in ("dataset", "backbone", "partition", "split")},
        **{name: int(summary[name]) for name in ("seed", "rounds")},
        "accuracy": {str(domain): float(value) for domain, value in summary["accuracy"].items()},
        "mean": float(summary["mean_accuracy"]),
        "metrics": {
            str(name): {str(domain): float(value) for domain, value in values.items()}
            for name, values in summary.get("metrics", {}).items()
        },
        "mean_metrics": {str(name): float(value) for name, value in summary.get("mean_metrics", {}).items()},
        "evaluated": [int(layer) for layer in summary["evaluated_layers"]],
        "cost": Cost(
            seconds=float(summary["seconds"]),
            simulated_hours=None if hours is None else float(hours),
            bytes_up=int(summary["bytes_up"]),
            bytes_down=int(summary["bytes_down"]),
            bytes_fetched=None if fetched is None else int(fetched),
            missing=missing,
            skipped=int(summary["skipped_images"]),
        ),
        "versions": {str(package): str(version) for package, version in summary["versions"].items()},
        "commit": None if summary["git_commit"] is None else str(summary["git_commit"]),
    }


def _holdings(table: pa.Table, num_layers: int) -> Holdings:
    """Shares of the layers by client, or of a large fleet by depth."""
    clients, depths = table["client"].to_numpy(), table["depth"].to_numpy()
    by_depth = len(np.unique(clients)) > MOST_CLIENTS
    keys, first, group = np.unique(-depths if by_depth else clients, return_index=True, return_inverse=True)
    layers = table["layers"].combine_chunks()
    updates, held = layers.value_lengths().to_numpy(), layers.flatten().to_numpy()
    if len(held) and held.max() >= num_layers:
        raise ValueError(f"a layer {held.max()} of {num_layers}")
    cells = np.repeat(group, updates) * num_layers + held
    counts = np.bincount(cells, minlength=len(keys) * num_layers).reshape(len(keys), num_layers)
    share = counts / np.bincount(group, minlength=len(keys))[:, None]
    if by_depth:
        names = [f"depth {-key} ({len(np.unique(clients[group == row]))} clients)" for row, key in enumerate(keys)]
    else:
        domains = table["domain"].to_pylist()
        names = [
            f"{key} {domains[start]} ({_span(depths[group == row])})"
            for row, (key, start) in enumerate(zip(keys, first, strict=True))
        ]
    return Holdings(names, by_depth, share)


def _span(depths: NDArray[np.int32]) -> str:
    """One depth, or the least and the largest of a client whose depth changes."""
    return str(depths[0]) if depths.min() == depths.max() else f"{depths.min()} to {depths.max()}"
