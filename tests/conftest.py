"""A miniature world that every test may use: real image files, small random backbones, one Ray instance."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import fedra_ray._torchvision  # noqa: F401  (before timm)
import timm
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from fedra_ray.config import (
    BackboneConfig,
    DatasetConfig,
    ExperimentConfig,
    FleetConfig,
    TrainingConfig,
)

DOMAINS = ("dark", "light", "noisy")
SHAPES = ("square", "circle", "cross")
VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "depth": 4}
MIXER = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_blocks": 4}


def draw(shape: str, domain: str, rng: np.random.Generator) -> bytes:
    """A 16 x 16 PNG of a shape, in the manner of a domain."""
    ink, paper = {"dark": (220, 30), "light": (30, 230), "noisy": (200, 90)}[domain]
    image = Image.new("RGB", (16, 16), (paper, paper, paper))
    pen = ImageDraw.Draw(image)
    left, top = rng.integers(1, 5, size=2).tolist()
    box = (left, top, left + 9, top + 9)
    if shape == "square":
        pen.rectangle(box, outline=(ink, ink, ink), width=2)
    elif shape == "circle":
        pen.ellipse(box, fill=(ink, ink, ink))
    else:
        pen.line((box[0], box[1], box[2], box[3]), fill=(ink, ink, ink), width=2)
        pen.line((box[0], box[3], box[2], box[1]), fill=(ink, ink, ink), width=2)
    pixels = np.asarray(image).astype(int) + (rng.integers(-60, 60, (16, 16, 3)) if domain == "noisy" else 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_dataset(path: Path) -> None:
    """Three domains of three shapes: 24 training, 6 validation and 6 test images a domain."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "image": draw(shape, domain, rng),
            "label": label,
            "label_name": shape,
            "domain": domain,
            "split": split,
            "source": f"{shape}-{domain}-{split}-{copy}",
        }
        for domain in DOMAINS
        for split, copies in (("train", 8), ("validation", 2), ("test", 2))
        for label, shape in enumerate(SHAPES)
        for copy in range(copies)
    ]
    table = pa.Table.from_pylist(rows)
    schema = table.schema.set(table.schema.get_field_index("label"), pa.field("label", pa.int32()))
    pq.write_table(table.cast(schema), path)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with shapes.parquet, vit.safetensors and mixer.safetensors."""
    folder = tmp_path_factory.mktemp("world")
    write_dataset(folder / "shapes.parquet")
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT)
    mixer = timm.models.MlpMixer(num_classes=0, **MIXER)
    for name, model in (("vit", vit), ("mixer", mixer)):
        state = {key: (value + 0.02 * torch.randn_like(value)).half() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def vit_config(world: Path) -> BackboneConfig:
    return BackboneConfig("tiny_vit", "vit_tiny_patch16_224", VIT, checkpoint=str(world / "vit.safetensors"))


@pytest.fixture(scope="session")
def mixer_config(world: Path) -> BackboneConfig:
    return BackboneConfig("tiny_mixer", "timm.models.MlpMixer", MIXER, checkpoint=str(world / "mixer.safetensors"))


@pytest.fixture
def config(world: Path, vit_config: BackboneConfig, tmp_path: Path) -> ExperimentConfig:
    """Three clients of depths 4, 2 and 1, two rounds of two steps."""
    return ExperimentConfig(
        dataset=DatasetConfig(name="shapes", root=str(world / "shapes.parquet")),
        backbone=dataclasses.replace(vit_config),
        fleet=FleetConfig(depths=[4, 2, 1], num_clients=3),
        training=TrainingConfig(lr=0.1, head_lr=0.1, batch_size=8, max_steps=2),
        rounds=2,
        run_dir=str(tmp_path / "run"),
    )
