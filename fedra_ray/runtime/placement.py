"""Where work goes. Pure functions that return values; `SlotPool` carries them out.

A *slot* is a client actor. Its *tier* is the largest depth that its clients hold, as a number of layers; with GPUs, a
tier that holds a part of the model reserves that part of a full slot's GPU share, which is how capacity is mimicked.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import RuntimeConfig
from fedra_ray.cost.gpu_share import gpu_share
from fedra_ray.federation.messages import ClientTask

SERVER_CPUS = 0.1
_PATIENCE = 10  # times the slowest call so far
_SPARE_SECONDS = 60.0  # on top of that: for reading data, and for a busy machine
_FIRST_SECONDS = 1800.0  # before anything was measured
_WORTHWHILE_SECONDS = 0.05  # of a call, which costs about a thousandth of a second itself


@dataclass(frozen=True)
class SlotSpec:
    """A client actor to be started.

    Attributes:
        tier: The most layers that its clients hold.
        num_cpus: CPUs that it reserves.
        num_gpus: GPUs, or the share of one, that it reserves.
        label: Value of the label `tier` that its node must have; None for any node.
    """

    tier: int
    num_cpus: float
    num_gpus: float
    label: str | None = None


@dataclass(frozen=True)
class Node:
    """What a node of the cluster offers to client actors.

    Attributes:
        cpus: Number of CPUs.
        gpus: Number of GPUs.
        label: Value of its label `tier`, if it has one.
    """

    cpus: float
    gpus: float
    label: str | None = None


def plan_slots(depths_held: list[int], num_layers: int, nodes: list[Node], runtime: RuntimeConfig) -> list[SlotSpec]:
    """The client actors that a cohort calls for on a cluster of these nodes.

    The configuration may ask for a number of actors, whether there is room for them or not; otherwise they fill the
    nodes. Without GPUs every slot takes every client. With GPUs there is one tier for every GPU share; after one slot
    of the largest tier, each further slot goes to the tier with the most work per slot. Each labelled kind of nodes is
    filled by itself, with the clients that belong there.

    Args:
        depths_held: How many layers each client of a cohort holds.
        num_layers: Layers of the full model.
        nodes: The nodes of the cluster.
        runtime: What an actor reserves, how many actors there may be, and which labels nodes have.

    Raises:
        SettingError: if the nodes lack what a slot needs and no number of actors is asked for, or no label covers the
            deepest clients.
    """
    requested = requested_slots(len(depths_held), runtime)
    if not runtime.tier_labels:
        return _plan_kind(depths_held, num_layers, nodes, runtime, requested)
    groups = by_label(depths_held, runtime.tier_labels)
    if requested and requested < len(groups):
        raise SettingError("runtime.max_actors", requested, f"must be at least {len(groups)}, one for every tier label")
    specs = []
    for label, group in groups.items():
        labelled = [node for node in nodes if node.label == label]
        # one each, and the rest in proportion to the work
        limit = requested and 1 + (requested - len(groups)) * sum(group) // sum(depths_held)
        specs += [replace(spec, label=label) for spec in _plan_kind(group, num_layers, labelled, runtime, limit)]
    return specs


def by_label(depths_held: list[int], tier_labels: dict[int, str]) -> dict[str, list[int]]:
    """The depths that a cohort's clients hold, grouped by the label of the nodes that train them.

    Args:
        depths_held: How many layers each client holds.
        tier_labels: Label of the nodes for clients of at most so many layers.

    Raises:
        SettingError: if no label covers the deepest clients.
    """
    groups: dict[str, list[int]] = {}
    for depth in depths_held:
        bounds = [bound for bound in tier_labels if depth <= bound]
        if not bounds:
            raise SettingError("runtime.tier_labels", tier_labels, f"must have a label for clients of {depth} layers")
        groups.setdefault(tier_labels[min(bounds)], []).append(depth)
    return groups


def requested_slots(clients: int, runtime: RuntimeConfig) -> int:
    """How many slots the configuration asks for, at most one per client; 0 if it leaves that to the resources."""
    wanted = []
    if runtime.max_actors is not None:
        wanted.append(runtime.max_actors)
    if runtime.clients_per_actor is not None:
        wanted.append(math.ceil(clients / runtime.clients_per_actor))
    return min([clients, *wanted]) if wanted else 0


def _plan_kind(
    depths_held: list[int], num_layers: int, nodes: list[Node], runtime: RuntimeConfig, requested: int
) -> list[SlotSpec]:
    """The slots on nodes of one kind: as many as requested, or, with 0, as many as there is room for."""
    limit = min(requested or len(depths_held), len(depths_held))
    room = sum(int((node.cpus + 1e-9) / runtime.num_cpus) for node in nodes)
    if runtime.num_gpus == 0:
        count = limit if requested else max(1, min(limit, room))
        return [SlotSpec(max(depths_held), runtime.num_cpus, 0.0)] * count
    if requested:  # an autoscaler may still have to bring the nodes
        return _plan_tiers(depths_held, num_layers, math.inf, runtime, limit)
    gpus = sum(node.gpus for node in nodes)
    if gpus < gpu_share(max(depths_held), num_layers, runtime.num_gpus):
        raise SettingError("runtime.num_gpus", runtime.num_gpus, f"the cluster has {gpus:g} GPUs for client actors")
    return _plan_tiers(depths_held, num_layers, gpus, runtime, min(limit, room))


def _plan_tiers(
    depths_held: list[int], num_layers: int, gpus: float, runtime: RuntimeConfig, limit: int
) -> list[SlotSpec]:
    """At most `limit` slots on so many GPUs, one tier for every GPU share; at least one, of the largest tier."""
    tiers: dict[float, int] = {}
    work: Counter[float] = Counter()
    for depth in sorted(depths_held):
        share = gpu_share(depth, num_layers, runtime.num_gpus)
        tiers[share] = depth  # the largest of those with this share
        work[share] += depth
    slots = Counter({max(tiers): 1})
    while slots.total() < limit:
        used = sum(share * number for share, number in slots.items())
        fitting = [share for share in tiers if used + share <= gpus + 1e-9]
        if not fitting:
            break
        slots[max(fitting, key=lambda share: work[share] / slots[share] if slots[share] else math.inf)] += 1
    return [SlotSpec(tiers[share], runtime.num_cpus, share) for share in sorted(slots.elements(), reverse=True)]


def longest_first(tasks: list[ClientTask]) -> list[ClientTask]:
    """Tasks by falling work, then by client number, so that no long one comes last and holds up the round."""
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
        least: Work (layers times images) below which a call would cost more than it is worth.

    Returns:
        The batch, empty if no task fits the tier.
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
    """How long a call may take before it counts as hanging, estimated from the calls before it.

    Args:
        fixed: Seconds that the configuration allows instead; None to go by what was measured.
    """

    def __init__(self, fixed: float | None) -> None:
        self._fixed = fixed
        self._slowest = 0.0  # seconds per unit of work
        self._work = 0
        self._seconds = 0.0

    def note(self, work: int, seconds: float) -> None:
        """Learn from a call that has ended: its work, in any unit that stays the same, and its seconds."""
        self._slowest = max(self._slowest, seconds / work)
        self._work += work
        self._seconds += seconds

    @property
    def least(self) -> float:
        """Work of the shortest call whose overhead does not matter; 0 before anything was measured."""
        return _WORTHWHILE_SECONDS * self._work / self._seconds if self._seconds else 0.0

    def limit(self, work: int) -> float:
        """Seconds that a call with this work may take."""
        if self._fixed is not None:
            return self._fixed
        return _SPARE_SECONDS + _PATIENCE * self._slowest * work if self._slowest else _FIRST_SECONDS
