"""A round of real training by this project and by two other ways to simulate it, on two CPUs.

    python -m analysis.benchmark.rounds

Six clients with depths 12, 10, 8, 6, 4, 3 take two steps of 32 images with ViT-Tiny at 64 pixels and LoRA dropout 0.1.
The rivals take turns, each in processes of its own:

- fedra-ray: two client actors on Ray, data set, records and all;
- plain: timm and PEFT, one client after another on two threads, a sub-model copied for each; no data is read;
- all resident: as in the authors' code, a model for every client stays in memory, and whole blocks are copied to and
  from it each round.
"""

import copy
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from analysis.benchmark import plain
from analysis.benchmark.processes import cpu_seconds, memory_mb
from analysis.benchmark.report import parser, show
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig, LoraConfig
from fedra_ray.federation.allocation import uniform
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.model.backbone import build

DEPTHS = [12, 10, 8, 6, 4, 3]
MODEL = BackboneConfig("vit_tiny", "vit_tiny_patch16_224", {"img_size": 64, "patch_size": 8})
LORA = LoraConfig(rank=8, alpha=8.0, dropout=0.1)
CLASSES = 36
BATCH = 32
STEPS = 2


def layers(number: int) -> list[list[int]]:
    """The layers that each client holds in a round."""
    matrix = uniform(DEPTHS, 12, generator(0, Purpose.ALLOCATION, number))
    return [row.nonzero()[0].tolist() for row in matrix]


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A batch of noise for every client."""
    return [(torch.randn(BATCH, 3, 64, 64), torch.randint(0, CLASSES, (BATCH,))) for _ in DEPTHS]


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """A client's local steps."""
    take = plain.step(model, images, labels)
    for _ in range(STEPS):
        take()


def one_after_another() -> Generator[None]:
    """Rounds of the plain loop."""
    torch.set_num_threads(2)
    model = plain.adapted(MODEL, CLASSES, LORA)
    data = batches()
    for number in range(10**9):
        updates = []
        for chosen, (images, labels) in zip(layers(number), data, strict=True):
            part = plain.sub_model(model, chosen)
            train(part, images, labels)
            parts = zip(chosen, part.blocks.children(), strict=True)
            updates.append({layer: block.state_dict() for layer, block in parts})
        average(model, updates, "lora_")
        yield


def all_resident() -> Generator[None]:
    """Rounds in the way of the authors' code."""
    torch.set_num_threads(2)
    model = plain.adapted(MODEL, CLASSES, LORA)
    data = batches()
    clients = [plain.sub_model(model, range(depth)) for depth in DEPTHS]
    for number in range(10**9):
        updates = []
        for client, chosen, (images, labels) in zip(clients, layers(number), data, strict=True):
            for block, layer in zip(client.blocks.children(), chosen, strict=True):
                block.load_state_dict(model.blocks[layer].state_dict())
            train(client, images, labels)
            parts = zip(chosen, client.blocks.children(), strict=True)
            updates.append({layer: copy.deepcopy(block.state_dict()) for layer, block in parts})
        average(model, updates, "")
        yield


def average(model: nn.Module, updates: list[dict[int, dict[str, torch.Tensor]]], which: str) -> None:
    """Set each block's values that have `which` in their name to their mean over the clients that held the block."""
    for layer, block in enumerate(model.blocks.children()):
        held = [update[layer] for update in updates if layer in update]
        for name, value in block.state_dict().items():
            if held and which in name:
                value.copy_(torch.stack([values[name] for values in held]).mean(0))


def on_ray() -> Generator[None]:
    """Rounds of this project."""
    from fedra_ray.runtime.environment import declare

    declare("local")
    import ray

    from fedra_ray.experiment import run
    from fedra_ray.preflight import check_experiment
    from fedra_ray.run_dir.folder import Folder
    from fedra_ray.run_dir.journal import Journal
    from fedra_ray.runtime.placement import SlotSpec
    from fedra_ray.runtime.pool import SlotPool

    with tempfile.TemporaryDirectory() as folder:
        config = ExperimentConfig(backbone=copy.deepcopy(MODEL), lora=LORA, rounds=999_999)
        config.backbone.mean = config.backbone.std = [0.5, 0.5, 0.5]
        config.backbone.checkpoint = f"{folder}/vit.safetensors"
        save_file(build(MODEL).state_dict(), config.backbone.checkpoint)
        config.training.batch_size, config.training.max_steps = BATCH, STEPS
        config.evaluation.every = config.checkpoint.every = config.rounds
        blueprint, weights = check_experiment(config)
        ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False)
        pool = SlotPool(blueprint, ray.put(weights), lambda: [SlotSpec(12, 1.0, 0.0)] * 2)
        for _ in run(blueprint, pool, Journal(Folder(Path(folder) / "run"), blueprint.config)):
            yield


RIVALS: dict[str, Callable[[], Generator[None]]] = {
    "fedra-ray": on_ray,
    "plain": one_after_another,
    "all resident": all_resident,
}


def serve(name: str, caller: Connection) -> None:
    """Carry out a round for every message, and answer with its seconds, CPU seconds and memory after it."""
    rounds = RIVALS[name]()
    while caller.recv():
        start = time.perf_counter()
        cpu = cpu_seconds()
        next(rounds)
        caller.send((time.perf_counter() - start, cpu_seconds() - cpu, memory_mb()))
    rounds.close()


def main() -> None:
    """Measure, print and write."""
    settings = parser(__doc__, "rounds").parse_args()
    context = multiprocessing.get_context("spawn")
    costs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in RIVALS}
    lines = {}
    for name in RIVALS:
        lines[name], other = context.Pipe()
        context.Process(target=serve, args=(name, other)).start()
    for _ in range(settings.repeats + 2):
        for name, line in lines.items():
            line.send(True)
            costs[name].append(line.recv())
    for line in lines.values():
        line.send(False)
    rows: list[dict[str, Any]] = []
    for name, measured in costs.items():
        seconds, cpu, memory = (statistics.median(column) for column in zip(*measured[2:], strict=True))
        rows.append({"simulation": name, "round, s": seconds, "CPU s": cpu, "memory, MB": memory})
    for row in rows:
        row["fedra-ray is times as fast"] = row["round, s"] / rows[0]["round, s"]
    show("A round of six clients", rows, settings.out)


if __name__ == "__main__":
    main()
