"""A miniature world that every test may use: image files, small random backbones, one Ray instance, an object store."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from safetensors.torch import load_file, save_file
from support import SHAPES, free_port, listening, write_parquet

from fedra_ray import run_local
from fedra_ray.config.paths import filesystem
from fedra_ray.config.schema import (
    BackboneConfig,
    DatasetConfig,
    ExperimentConfig,
    FleetConfig,
    LoraConfig,
    RuntimeConfig,
    TrainingConfig,
)
from fedra_ray.federation.layout import Layout
from fedra_ray.model.backbone import find_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.weights import from_weights, load_weights
from fedra_ray.runtime.environment import declare

import timm  # isort: skip  (fedra_ray lets it import beside a CPU-only torch)

declare("local")  # before any test module imports ray
torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")

HERE = Path(__file__).parent
#: Files that take longest, which begin first, so that two workers end at the same time.
LONGEST = (
    "runtime/test_pool.py",
    "runtime/test_driver.py",
    "cluster/test_job.py",
    "runtime/test_sweep.py",
    "test_own_method.py",
    "test_loading.py",
    "runtime/test_preparation.py",
    "test_authors.py",
)
VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "depth": 4}
MIXER = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_blocks": 4}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    places = {HERE / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in places)
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with shapes.parquet, vit.safetensors and mixer.safetensors."""
    folder = tmp_path_factory.mktemp("world")
    write_parquet(folder / "shapes.parquet")
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT)
    mixer = timm.models.MlpMixer(num_classes=0, **MIXER)
    for name, model in (("vit", vit), ("mixer", mixer)):
        state = {key: (value + 0.02 * torch.randn_like(value)).half() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """The one Ray instance of all tests; its actors can import what tests/ and tests/runtime/ have.

    As far as Ray knows it has four CPUs, two GPUs and a label: placement needs no real ones.
    """
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # not as a runtime_env, which the processes that Ray has ready do not have
        patch.setenv("PYTHONPATH", f"{HERE / 'runtime'}:{HERE}:{HERE.parent}")
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=2,
            labels={"tier": "large"},
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,  # or what Ray says of one test comes into the output of the next
        )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def vit_config(world: Path) -> BackboneConfig:
    file = str(world / "vit.safetensors")
    return BackboneConfig("tiny_vit", "vit_tiny_patch16_224", VIT, checkpoint=file, mean=[0.5] * 3, std=[0.5] * 3)


@pytest.fixture(scope="session")
def mixer_config(world: Path) -> BackboneConfig:
    file = str(world / "mixer.safetensors")
    return BackboneConfig("tiny_mixer", "timm.models.MlpMixer", MIXER, checkpoint=file, mean=[0.5] * 3, std=[0.5] * 3)


@pytest.fixture(scope="session")
def make_config(world: Path, vit_config: BackboneConfig) -> Callable[[Path], ExperimentConfig]:
    """make_config(run_dir): three clients of depths 4, 2 and 1, two rounds of two steps, one actor."""

    def make(run_dir: Path) -> ExperimentConfig:
        return ExperimentConfig(
            dataset=DatasetConfig(name="shapes", root=str(world / "shapes.parquet")),
            backbone=dataclasses.replace(vit_config, mean=[0.5] * 3, std=[0.5] * 3),
            fleet=FleetConfig(depths=[4, 2, 1], num_clients=3),
            training=TrainingConfig(lr=0.1, head_lr=0.1, batch_size=8, max_steps=2),
            lora=LoraConfig(rank=8, alpha=8.0),
            rounds=2,
            runtime=RuntimeConfig(max_actors=1),
            run_dir=str(run_dir),
        )

    return make


@pytest.fixture(scope="session")
def make_run(
    make_config: Callable[[Path], ExperimentConfig], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """make_run(change=None): the directory of a finished run in this process, that keeps every round's adapter.

    `change(config)` may alter the miniature configuration: three clients of depths 4, 2 and 1, two rounds of two steps.
    """

    def make(change: Callable[[ExperimentConfig], None] = lambda config: None) -> str:
        config = make_config(tmp_path_factory.mktemp("runs") / "run")
        config.evaluation.every = config.checkpoint.every = 1
        config.checkpoint.keep = 100
        change(config)
        run_local(config)
        return config.run_dir

    return make


@pytest.fixture(scope="session")
def fedra_run(make_run: Callable[..., str]) -> str:
    """The directory of a run of FedRA. Read it; change nothing in it."""
    return make_run()


@pytest.fixture
def config(make_config: Callable[[Path], ExperimentConfig], tmp_path: Path) -> ExperimentConfig:
    """Three clients of depths 4, 2 and 1, two rounds of two steps."""
    return make_config(tmp_path / "run")


@pytest.fixture
def miniature(world: Path) -> list[str]:
    """Data, backbone and fleet of the miniature world as command-line overrides of the default experiment."""
    return [
        "dataset=parquet",
        f"dataset.root={world / 'shapes.parquet'}",
        *(f"++backbone.model_args.{name}={value}" for name, value in VIT.items()),
        f"backbone.checkpoint={world / 'vit.safetensors'}",
        "fleet.depths=[4,2,1]",
        "fleet.num_clients=3",
    ]


@pytest.fixture(params=["vit", "mixer"])
def backbone_config(request: pytest.FixtureRequest) -> BackboneConfig:
    """Each family of backbones in turn."""
    config: BackboneConfig = request.getfixturevalue(f"{request.param}_config")
    return config


@pytest.fixture(scope="session")
def make_model() -> Callable[..., SubModel]:
    """make_model(backbone_config, head_names=..., lora=..., fused=...): an adapted model without trained values."""

    def make(
        config: BackboneConfig,
        head_names: Sequence[str] = ("head",),
        lora: LoraConfig | None = None,
        fused: bool = True,
    ) -> SubModel:
        lora = lora or LoraConfig(rank=2, alpha=3.0)
        backbone = from_weights(config, load_weights(config))
        return SubModel(backbone, find_targets(backbone, lora.targets), lora, head_names, len(SHAPES), fused)

    return make


@pytest.fixture(scope="session")
def random_values() -> Callable[..., np.ndarray]:
    """random_values(layout, seed=0): a flat adapter in which lora_B and the heads are not zero."""

    def draw_values(layout: Layout, seed: int = 0) -> np.ndarray:
        size = layout.segments[-1].stop
        return (0.3 * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)

    return draw_values


@pytest.fixture(scope="session")
def plain_model() -> Callable[..., torch.nn.Module]:
    """plain_model(backbone_config, layers, num_classes=3): timm's own model, built from those blocks alone."""

    def make(config: BackboneConfig, layers: Sequence[int], num_classes: int = len(SHAPES)) -> torch.nn.Module:
        if config.model == "timm.models.MlpMixer":
            model = timm.models.MlpMixer(num_classes=num_classes, **MIXER | {"num_blocks": len(layers)})
        else:
            model = timm.create_model(config.model, num_classes=num_classes, **VIT | {"depth": len(layers)})
        state = {}
        for name, value in load_file(config.checkpoint).items():
            parts = name.split(".")
            if parts[0] != "blocks":
                state[name] = value.float()
            elif int(parts[1]) in layers:
                state[".".join(["blocks", str(layers.index(int(parts[1]))), *parts[2:]])] = value.float()
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert set(missing) <= {"head.weight", "head.bias"}
        assert not unexpected
        return model.eval()

    return make


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """Six normalised images (6, 3, 16, 16)."""
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def labels() -> torch.Tensor:
    return torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture
def bucket() -> Iterator[tuple[str, str]]:
    """A bucket on a real S3 server on the loopback address: its URI, and the query that belongs to every URI in it."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while not listening(port):
                assert server.poll() is None
                time.sleep(0.1)
            query = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            system, path = filesystem("out", f"s3://key:secret@lab?{query}&allow_bucket_creation=true")
            system.create_dir(path)
            yield "s3://key:secret@lab", query
        finally:
            server.terminate()
