"""What an experiment would cost, before anything runs: traffic, arithmetic, memory and time, and layer coverage.

Needs neither weights nor Ray, and no images: their number is enough.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import fmean
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedra_ray.config.bounds import setting
from fedra_ray.config.checks import check
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.gpu_share import gpu_share
from fedra_ray.cost.law import CostModel, Passed
from fedra_ray.cost.measure import priced
from fedra_ray.cost.rounds import Downloads, downloads, draw_rounds, mean_coverage, workloads
from fedra_ray.cost.simulation import Simulation, simulate
from fedra_ray.cost.workload import Workload
from fedra_ray.data.dataset import Labelled, in_numbers
from fedra_ray.data.division import Division
from fedra_ray.data.opening import open_labelled
from fedra_ray.federation.allocation import Coverage
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.storage import Storage, frozen_bytes
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.create import create_method
from fedra_ray.methods.method import Method
from fedra_ray.model.backbone import build, check_normalisation, find_targets, input_size
from fedra_ray.model.stack import check_stack, check_targets
from fedra_ray.model.submodel import SubModel

GIGABYTE = 10**9
PROCESS_BYTES = GIGABYTE // 2  # of GPU memory that a process takes before its first tensor: context and libraries


@dataclass
class PlanConfig:
    """What a plan assumes.

    Attributes:
        tflops: Arithmetic that a device sustains, in 10^12 FLOPs per second.
        gpu_memory_gb: Memory of a GPU in 10^9 bytes.
        devices: Number of devices that compute.
        examples: Images of an average client; null counts those of the data set.
        classes: Number of classes of the head; null takes that of the data set.
    """

    tflops: float = setting(10.0, above=0)
    gpu_memory_gb: float = setting(24.0, above=0)
    devices: int = setting(1, above=0)
    examples: int | None = setting(None, above=0)
    classes: int | None = setting(None, above=0)


@dataclass
class PlannedExperiment(ExperimentConfig):
    """An experiment, and what a plan of it assumes."""

    plan: PlanConfig = field(default_factory=PlanConfig)


@dataclass(frozen=True)
class Tier:
    """The clients that train equally many blocks, and the slots for them. Means are over these clients.

    Attributes:
        layers: How many blocks they train.
        clients: How many clients these are in a round, on average over rounds.
        parameters: Trained values of each.
        traffic: Bytes of trained values that each sends and receives per round; the most, where they differ.
        fetched: Mean bytes of frozen weights that each downloads per round.
        steps: Mean number of local steps per round.
        flops: Mean FLOPs of a client's round.
        memory: Bytes of a client's training at its peak.
        slot_memory: The same in a slot, which holds the whole frozen model and is a process.
        gpu_share: Part of a GPU that a slot reserves; 0 without GPUs.
        slots_per_gpu: How many such slots share a GPU; 0 without GPUs.
        fits: Whether the memory of a GPU is enough for them.
    """

    layers: int
    clients: float
    parameters: int
    traffic: Traffic
    steps: float
    flops: float
    fetched: float
    memory: int
    slot_memory: int
    gpu_share: float
    slots_per_gpu: int
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What an experiment would cost.

    Attributes:
        tiers: The clients by number of blocks, deepest first.
        round_bytes: Mean bytes moved per round, both ways.
        round_flops: Mean FLOPs of a round's training.
        evaluations: How often the global model is evaluated.
        evaluation_flops: FLOPs of all evaluations.
        seconds: Time of the whole experiment at best: no device waits, and only arithmetic takes time.
        coverage: Layers without a holder.
        downloads: Frozen weights that clients download.
        simulation: Times on simulated devices; None if there are none.
        data: What is known of the data set, one line each; empty without one.
    """

    tiers: tuple[Tier, ...]
    round_bytes: float
    round_flops: float
    evaluations: int
    evaluation_flops: float
    seconds: float
    coverage: Coverage
    downloads: Downloads | None = None
    simulation: Simulation | None = None
    data: tuple[str, ...] = ()


def plan(
    cost: CostModel,
    rounds: list[list[Workload]],
    coverage: Coverage,
    config: ExperimentConfig,
    settings: PlanConfig,
    evaluation_flops: int = 0,
) -> Plan:
    """The plan of an experiment whose rounds are like these on average.

    Args:
        cost: Costs of the model.
        rounds: What each client of some rounds' cohorts does.
        coverage: Coverage of the method's allocation.
        config: The experiment.
        settings: What the plan assumes.
        evaluation_flops: FLOPs of one evaluation.
    """
    clients = [client for round_ in rounds for client in round_]
    ordered = sorted(clients, key=_tier_of)
    groups = [list(members) for _, members in groupby(ordered, key=_tier_of)]
    tiers = tuple(_tier(cost, members, len(rounds), config, settings) for members in groups)
    work = [[client.flops(cost) for client in round_] for round_ in rounds]
    evaluations = math.ceil(config.rounds / config.evaluation.every)
    # a client is on one device
    longest = fmean(max(sum(flops) / settings.devices, max(flops, default=0)) for flops in work)
    total = config.rounds * longest + evaluations * evaluation_flops / settings.devices
    return Plan(
        tiers=tiers,
        round_bytes=sum(sum(client.traffic) for client in clients) / len(rounds),
        round_flops=fmean(map(sum, work)),
        evaluations=evaluations,
        evaluation_flops=evaluations * evaluation_flops,
        seconds=total / (settings.tflops * 1e12),
        coverage=coverage,
    )


def _tier_of(client: Workload) -> tuple[int, int]:
    """Clients with equal numbers are of one tier: by how many blocks they train, and how many of these in part."""
    return -client.layers, client.passed.partial


def _tier(
    cost: CostModel, clients: list[Workload], rounds: int, config: ExperimentConfig, settings: PlanConfig
) -> Tier:
    first = clients[0]
    batch_size = min(config.training.batch_size, max(client.images for client in clients))
    resident = Passed(before=cost.num_layers - first.layers, stand_ins=first.passed.stand_ins)
    slot_memory = cost.memory(first.layers, batch_size, first.heads, resident) + PROCESS_BYTES
    share = gpu_share(max(1, first.layers), cost.num_layers, config.runtime.num_gpus)
    slots = max(1, math.floor(1 / share + 1e-9)) if share else 0
    return Tier(
        layers=first.layers,
        clients=len(clients) / rounds,
        parameters=cost.parameters(first.layers, first.heads, first.passed),
        traffic=Traffic(*map(max, zip(*(client.traffic for client in clients), strict=True))),
        steps=sum(client.steps for client in clients) / len(clients),
        flops=sum(client.flops(cost) for client in clients) / len(clients),
        fetched=sum(client.fetched for client in clients) / len(clients),
        memory=cost.memory(first.layers, batch_size, first.heads, first.passed),
        slot_memory=slot_memory,
        gpu_share=share,
        slots_per_gpu=slots,
        fits=slots * slot_memory <= settings.gpu_memory_gb * GIGABYTE,
    )


def plan_experiment(config: PlannedExperiment) -> Plan:
    """The plan of a configured experiment.

    Its first rounds, as many as there is time to draw, stand for all of them.

    Raises:
        SettingError: for the first setting that cannot work.
    """
    check(config)
    check_normalisation(config.backbone)
    backbone = build(config.backbone)
    size = input_size(backbone)
    check_stack(backbone, config.backbone.model, size)
    check_targets(backbone, find_targets(backbone, config.lora.targets), size)
    dataset = _dataset(config, size)
    classes = config.plan.classes or len(dataset.classes if dataset else ())
    if config.training.precision == "bf16":
        backbone = backbone.bfloat16()
    frozen = frozen_bytes(backbone.state_dict(), len(cast(nn.ModuleList, backbone.blocks)))
    # without a data set there is one domain per depth, as in the paper
    listed = config.fleet.memory_mb or config.fleet.depths
    domains = dataset.domains if dataset else tuple(map(str, range(len(listed))))
    config, cost = priced(config, backbone, domains, classes)
    fleet = Fleet(config, domains)
    method = create_method(config, cost.num_layers, fleet)
    layout = _layout(config, method, classes)
    sizes = _sizes(config, dataset)
    drawn = draw_rounds(method, fleet, config)
    if not any(each.cohort for each in drawn):
        raise SettingError("method.name", config.method.name, "no client can take part in any drawn round")
    fetched = downloads(method, drawn, Storage.empty(frozen, config.fleet.storage, fleet.size))
    rounds = [workloads(each, method, layout, sizes, config.training, fetched) for each in drawn]
    evaluation = _evaluation_flops(cost, method, dataset, config.evaluation.split)
    planned = plan(cost, rounds, mean_coverage(method, drawn), config, config.plan, evaluation)
    data = (in_numbers(dataset), *dataset.notes) if dataset else ()
    simulation = simulate(cost, rounds, drawn, fleet, config)
    return replace(planned, downloads=fetched, simulation=simulation, data=data)


def _layout(config: ExperimentConfig, method: Method, classes: int) -> Layout:
    """How the adapter would lie in its flat vector; no weight is made."""
    with torch.device("meta"):
        backbone = build(config.backbone)
        targets = find_targets(backbone, config.lora.targets)
        extras = method.extra_modules(int(cast(int, backbone.num_features)))
        changes = method.changes_weights
        model = SubModel(
            backbone, targets, config.lora, method.head_names, classes, extras=extras, changes_weights=changes
        )
        return model.layout


def _evaluation_flops(cost: CostModel, method: Method, dataset: Labelled | None, split: str) -> int:
    """FLOPs of one evaluation on every domain; 0 without a data set."""
    if dataset is None:
        return 0
    layers = method.evaluated_layers
    images = sum(len(dataset.labels(domain, split)) for domain in dataset.domains)
    return images * cost.evaluation_flops(len(layers), len(set(method.named(layers)) & set(method.head_names)))


def _sizes(config: PlannedExperiment, dataset: Labelled | None) -> NDArray[np.int64]:
    """How many images each client has; without a data set, `_dataset` made sure that the plan states it."""
    if config.plan.examples is not None or dataset is None:
        return np.full(config.fleet.num_clients, config.plan.examples)
    division = Division(config, dataset)
    division.check()
    return division.sizes()


def _dataset(config: PlannedExperiment, input_size: int) -> Labelled | None:
    """The data set; None if it cannot be opened and the plan's settings state what it would."""
    try:
        return open_labelled(config.dataset, config.backbone, input_size)
    except SettingError as error:
        for name in ("examples", "classes"):
            if getattr(config.plan, name) is None:
                allowed = (
                    f"the data set cannot be opened ({error}); correct that, or set plan.examples and plan.classes"
                )
                raise SettingError(f"plan.{name}", None, allowed) from error
        return None
