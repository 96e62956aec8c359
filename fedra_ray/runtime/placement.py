"""Where work goes. Pure functions that return values; `SlotPool` carries them out.

A *slot* is a client actor. Its *tier* is the largest number of layers that its clients hold; with GPUs, a tier that
holds a part of the model reserves that part of a full slot's GPU share, which is how capacity is mimicked.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.federation.messages import ClientTask

SERVER_CPUS = 0.1
_PATIENCE = 10  # times the slowest call so far
_SPARE_SECONDS = 60.0  # on top of that: for reading data, and for a busy machine
_FIRST_SECONDS = 1800.0  # before anything was measured
_WORTHWHILE_SECONDS = 0.05  # of a call, which costs about a thousandth of a second itself


@dataclass(frozen=True)
class SlotSpec:
    """A client actor to be: the most layers its clients hold, what it reserves, and the label of nodes it may be on."""

    tier: int
    num_cpus: float
    num_gpus: float
    label: str | None = None


@dataclass(frozen=True)
class Node:
    """What a node of the cluster has for client actors, and its label `tier`."""

    cpus: float
    gpus: float
    label: str | None = None


def gpu_share(tier: int, num_layers: int, full: float) -> float:
    """GPU share of a tier: tier / num_layers of a full slot's, rounded up to what Ray places well (1/k or whole)."""
    wanted = full * tier / num_layers
    if wanted == 0:
        return 0.0
    return 1 / math.floor(1 / wanted + 1e-9) if wanted < 1 else float(math.ceil(wanted - 1e-9))


def plan_slots(layers: list[int], num_layers: int, nodes: list[Node], runtime: RuntimeConfig) -> list[SlotSpec]:
    """The client actors that a cohort calls for on a cluster of these nodes.

    The configuration may ask for a number of them, whether there is room or not; otherwise they fill the nodes.
    Without GPUs every slot takes every client. With GPUs there is a tier for every share; after one slot of the
    largest tier, each further slot goes to the tier with most work per slot. Labelled kinds of nodes are filled each
    by itself, with the clients that belong there.

    Args:
        layers: How many layers each client of a cohort holds.
        num_layers: Layers of the full model.
        nodes: The nodes that are there.
        runtime: What an actor reserves, how many there may be, and which labels nodes have.

    Raises:
        SettingError: if the nodes lack what a slot needs and none is asked for, or no label is for the largest clients.
    """
    if runtime.tier_labels is None:
        return _plan_kind(layers, num_layers, nodes, runtime, requested_slots(len(layers), runtime))
    groups = by_label(layers, runtime.tier_labels)
    requested = requested_slots(len(layers), runtime)
    if requested and requested < len(groups):
        raise SettingError("runtime.max_actors", requested, f"must be at least {len(groups)}, one for every tier label")
    specs = []
    for label, group in groups.items():
        kind = [node for node in nodes if node.label == label]
        # one each, and the rest in proportion to the work
        limit = requested and 1 + (requested - len(groups)) * sum(group) // sum(layers)
        specs += [replace(spec, label=label) for spec in _plan_kind(group, num_layers, kind, runtime, limit)]
    return specs


def by_label(layers: list[int], tier_labels: dict[int, str]) -> dict[str, list[int]]:
    """Layer counts of a cohort by the label of the nodes that they are trained on.

    Raises:
        SettingError: if no label is for the largest.
    """
    groups: dict[str, list[int]] = {}
    for count in layers:
        bounds = [bound for bound in tier_labels if count <= bound]
        if not bounds:
            raise SettingError("runtime.tier_labels", tier_labels, f"must have a label for clients of {count} layers")
        groups.setdefault(tier_labels[min(bounds)], []).append(count)
    return groups


def requested_slots(clients: int, runtime: RuntimeConfig) -> int:
    """How many slots the configuration asks for, at most one a client; 0 if it leaves that to the resources."""
    wanted = []
    if runtime.max_actors is not None:
        wanted.append(runtime.max_actors)
    if runtime.clients_per_actor is not None:
        wanted.append(math.ceil(clients / runtime.clients_per_actor))
    return min([clients, *wanted]) if wanted else 0


def _plan_kind(
    layers: list[int], num_layers: int, nodes: list[Node], runtime: RuntimeConfig, requested: int
) -> list[SlotSpec]:
    limit = min(requested or len(layers), len(layers))
    room = sum(int((node.cpus + 1e-9) / runtime.num_cpus) for node in nodes)
    if runtime.num_gpus == 0:
        return [SlotSpec(max(layers), runtime.num_cpus, 0.0)] * (limit if requested else max(1, min(limit, room)))
    gpus = sum(node.gpus for node in nodes)
    if requested:
        gpus, room = math.inf, limit
    if gpus < gpu_share(max(layers), num_layers, runtime.num_gpus):
        raise SettingError("runtime.num_gpus", runtime.num_gpus, f"the cluster has {gpus:g} GPUs for client actors")
    return _plan_tiers(layers, num_layers, gpus, runtime, min(limit, room))


def _plan_tiers(layers: list[int], num_layers: int, gpus: float, runtime: RuntimeConfig, limit: int) -> list[SlotSpec]:
    tiers: dict[float, int] = {}
    work: Counter[float] = Counter()
    for count in sorted(layers):
        share = gpu_share(count, num_layers, runtime.num_gpus)
        tiers[share] = count  # the largest of those with this share
        work[share] += count
    slots = Counter({max(tiers): 1})
    while slots.total() < limit:
        used = sum(share * number for share, number in slots.items())
        fitting = [share for share in tiers if used + share <= gpus + 1e-9]
        if not fitting:
            break
        slots[max(fitting, key=lambda share: work[share] / slots[share] if slots[share] else math.inf)] += 1
    return [SlotSpec(tiers[share], runtime.num_cpus, share) for share in sorted(slots.elements(), reverse=True)]


def longest_first(tasks: list[ClientTask]) -> list[ClientTask]:
    """Tasks by falling work, then by client: the long ones must not come last."""
    return sorted(tasks, key=lambda task: (-task.work, task.client))


def next_batch(
    queue: list[ClientTask], tier: int, slots: int, most: int | None, least: float = 0.0
) -> list[ClientTask]:
    """The tasks that an idle slot takes next from a queue in `longest_first` order.

    A batch has about half of a fair share of the remaining work: few calls at first, small ones at the end, so that
    no slot waits for another. Only tasks that fit the tier are taken.

    Args:
        queue: Tasks that nobody has taken yet.
        tier: The most layers that the slot takes.
        slots: How many slots there are.
        most: The most tasks of a batch; None for no bound.
        least: Work below which a call would cost more than it is worth.
    """
    fitting = [task for task in queue if len(task.layers) <= tier]
    share = max(least, sum(task.work for task in fitting) / (2 * slots))
    batch: list[ClientTask] = []
    work = 0
    for task in fitting:
        work += task.work
        if batch and (len(batch) == most or work > share):
            break
        batch.append(task)
    return batch


class Pace:
    """How long a call may take before it counts as hanging, from how long the calls before it took.

    Args:
        fixed: Seconds that the configuration allows instead; None to go by what was measured.
    """

    def __init__(self, fixed: float | None) -> None:
        self._fixed = fixed
        self._slowest = self._work = self._seconds = 0.0

    def note(self, work: int, seconds: float) -> None:
        """Take in a call that ended: its work, in any unit, and how long it took."""
        self._slowest = max(self._slowest, seconds / work)
        self._work += work
        self._seconds += seconds

    @property
    def least(self) -> float:
        """Work that takes as long as a call should at least take, for its overhead not to matter; 0 if unknown."""
        return _WORTHWHILE_SECONDS * self._work / self._seconds if self._seconds else 0.0

    def limit(self, work: int) -> float:
        """Seconds that a call with this work may take."""
        if self._fixed is not None:
            return self._fixed
        return _SPARE_SECONDS + _PATIENCE * self._slowest * work if self._slowest else _FIRST_SECONDS
