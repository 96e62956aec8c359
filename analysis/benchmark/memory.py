"""What a client actor needs of a node's memory for ViT-B/16, beyond the interpreter and its libraries.

    python -m analysis.benchmark.memory

The frozen weights (random ones, of the real size) lie in the object store once; `own` is the memory that only the
actor's process uses (unique set size), less that of an actor that has imported the same libraries and nothing else.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import psutil
from safetensors.torch import save_file

from analysis.benchmark.report import parser, show
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig
from fedra_ray.model.backbone import build
from fedra_ray.runtime.environment import declare

MODEL = "vit_base_patch16_224"


def own_memory(_: object) -> float:
    """Memory in 10^6 bytes that only this process uses."""
    return float(psutil.Process(os.getpid()).memory_full_info().uss / 1e6)


class Importer:
    """An actor that imports what a client actor does."""

    def __init__(self) -> None:
        import fedra_ray.client.host  # noqa: F401


def main() -> None:
    """Measure, print and write."""
    settings = parser(__doc__, "memory").parse_args()
    declare("local")
    import ray

    from fedra_ray.preflight import check_experiment
    from fedra_ray.runtime.slot import ClientSlot

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "vit.safetensors"
        state = build(BackboneConfig(model=MODEL)).state_dict()
        save_file(state, checkpoint)
        config = ExperimentConfig()
        config.backbone = BackboneConfig("vit_b16", MODEL, checkpoint=str(checkpoint), mean=[0.5] * 3, std=[0.5] * 3)
        blueprint, weights = check_experiment(config)
    ray.init(address="local", num_cpus=3, include_dashboard=False, configure_logging=False)
    given = [ray.put(blueprint), ray.put(weights)]
    idle: Any = ray.remote(Importer).remote()
    slots: list[Any] = [ray.remote(ClientSlot).remote(number, given) for number in range(2)]
    libraries, *actors = ray.get([actor.__ray_call__.remote(own_memory) for actor in (idle, *slots)])
    ray.shutdown()
    backbone = sum(tensor.nbytes for tensor in state.values()) / 1e6
    rows = [
        {"actor": n, "own, MB": m - libraries, "libraries, MB": libraries, "backbone in the store, MB": backbone}
        for n, m in enumerate(actors)
    ]
    show("Memory of a client actor", rows, settings.out)


if __name__ == "__main__":
    main()
