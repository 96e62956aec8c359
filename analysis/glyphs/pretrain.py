# Long: settings, augmentation, state and loop of one training script, which nothing else shares.
"""Pretrains a small backbone whose blocks also work in part.

Each step leaves out every block with a fixed probability (block drop, as LayerDrop of arXiv 1909.11556), for FedRA
gives clients sub-models of arbitrary blocks and a backbone trained as a whole breaks when blocks are missing.

    python -m analysis.glyphs.pretrain data=DIR/pretrain.parquet [pretrain=glyph_mixer] [steps=...]
"""

import io
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fedra_ray.model import _torchvision  # noqa: F401  (must come before timm)

from timm.layers import build_sincos2d_pos_embed  # isort: skip

from fedra_ray.cli.compose import compose_named
from fedra_ray.config.errors import SettingError
from fedra_ray.model.backbone import create_model

CONF = Path(__file__).parent / "conf"

_MAX_DEGREES, _MAX_SCALE, _MAX_SHIFT, _MAX_SHEAR, _MAX_TINT = 12.0, 0.15, 0.1, 0.1, 0.5


@dataclass
class PretrainConfig:
    """Settings of one pretraining.

    Attributes:
        data: Parquet file with columns image (encoded bytes), label and split.
        out: safetensors file to write; "OUT.state" beside it keeps the state to resume from.
        model: name of a timm model, or dotted name of a timm class.
        model_args: arguments of the model.
        initial: safetensors file of weights to start from; none for random ones.
        steps: optimiser steps.
        batch_size: images a step.
        lr: peak learning rate of AdamW; linear warm-up, then cosine decay.
        warmup: steps of the warm-up.
        weight_decay: weight decay of matrices.
        block_drop: probability of leaving out a block in a step, in [0, 1).
        inversion: probability of light ink on dark paper.
        ramp: share of the steps over which block_drop and inversion grow from zero; learning starts sooner so.
        label_smoothing: label smoothing of the cross entropy.
        checkpoint_every: steps between checkpoints.
        bfloat16: compute in bfloat16 where that is safe; about a quarter faster on processors with AMX.
        seed: seed of the weights, batches, augmentation and dropped blocks.
    """

    data: str
    out: str
    model: str
    model_args: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    steps: int = 6000
    batch_size: int = 128
    lr: float = 2e-3
    warmup: int = 150
    weight_decay: float = 0.05
    block_drop: float = 0.2
    inversion: float = 0.3
    ramp: float = 0.3
    label_smoothing: float = 0.05
    checkpoint_every: int = 250
    bfloat16: bool = False
    seed: int = 0


def check(config: PretrainConfig) -> None:
    """Raises SettingError for a setting that cannot work."""
    if not 0 <= config.block_drop < 1:
        raise SettingError("block_drop", config.block_drop, "must be at least 0 and less than 1")
    for name in ("steps", "batch_size", "checkpoint_every"):
        if getattr(config, name) < 1:
            raise SettingError(name, getattr(config, name), "must be at least 1")
    if config.initial is not None and not Path(config.initial).is_file():
        raise SettingError("initial", config.initial, "no such file")
    if not Path(config.data).is_file():
        raise SettingError("data", config.data, "no such file; python -m analysis.glyphs writes one")


@contextmanager
def only_blocks(model: nn.Module, kept: Sequence[int]) -> Iterator[nn.Module]:
    """The model with only the blocks at these indices, in that order, for as long as the context lasts."""
    blocks = model.blocks
    model.blocks = nn.Sequential(*(blocks[index] for index in kept))  # type: ignore[index, arg-type]
    try:
        yield model
    finally:
        model.blocks = blocks


def load_images(path: str, split: str) -> tuple[Tensor, Tensor]:
    """Images [n, 3, height, width], uint8, and labels [n] of one split of a Parquet file."""
    table = pq.read_table(path, columns=["image", "label", "split"])
    table = table.filter(pc.equal(table["split"], split))
    arrays = [np.asarray(Image.open(io.BytesIO(image.as_py())).convert("RGB")) for image in table["image"]]
    if not arrays:
        raise SettingError("data", path, f"has no image of split {split!r}")
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2), torch.tensor(table["label"].to_pylist())


class _Random:
    """Uniform numbers of one generator."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def symmetric(self, bound: float, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=self.generator) * 2 - 1) * bound

    def unit(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)


def augment(images: Tensor, random: _Random, inversion: float) -> Tensor:
    """Randomly moved and coloured copies of black-on-white images [n, 3, h, w], uint8, as floats in [-1, 1]."""
    count = len(images)
    ink = 1 - images.float() / 255
    angle = random.symmetric(_MAX_DEGREES * math.pi / 180, count)
    scale, shear = 1 + random.symmetric(_MAX_SCALE, count, 2), random.symmetric(_MAX_SHEAR, count)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = angle.cos() * scale[:, 0], (shear - angle.sin()) * scale[:, 1]
    matrix[:, 1, 0], matrix[:, 1, 1] = angle.sin() * scale[:, 0], angle.cos() * scale[:, 1]
    matrix[:, :, 2] = random.symmetric(_MAX_SHIFT, count, 2)
    ink = F.grid_sample(ink, F.affine_grid(matrix, list(ink.shape), align_corners=False), align_corners=False)
    paper = 1 - _MAX_TINT * random.unit(count, 3, 1, 1) * random.unit(count, 1, 1, 1)
    colour = _MAX_TINT * random.unit(count, 3, 1, 1) * random.unit(count, 1, 1, 1)
    inverted = (random.unit(count, 1, 1, 1) < inversion).float()
    image = paper * (1 - ink) + colour * ink
    return (image + inverted * (1 - 2 * image)) * 2 - 1


def _mark_positions(model: nn.Module) -> None:
    """Starts learned positions from the sine-cosine code (arXiv 2205.01580), as large as patches; timm's are tiny."""
    positions = getattr(model, "pos_embed", None)
    if isinstance(positions, nn.Parameter):
        grid = model.patch_embed.grid_size  # type: ignore[union-attr]
        code = build_sincos2d_pos_embed(list(grid), dim=positions.shape[-1], interleave_sin_cos=False)  # type: ignore
        with torch.no_grad():
            positions[:, -len(code) :] = code


class _Run:
    """State of one pretraining: everything that a checkpoint keeps."""

    def __init__(self, config: PretrainConfig, classes: int) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.model = create_model(config.model, config.model_args)
        _mark_positions(self.model)
        if config.initial is not None:
            self.model.load_state_dict(load_file(config.initial))
        if config.bfloat16:  # the fused kernel is several times slower in bfloat16
            for module in self.model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = False  # type: ignore[assignment]
        self.depth = len(self.model.blocks)  # type: ignore[arg-type]
        self.head = nn.Linear(int(self.model.num_features), classes)  # type: ignore[arg-type]
        # Beside a class token the mean of the patches is trained as well, by a head that is thrown away.
        self.prefix = int(getattr(self.model, "num_prefix_tokens", 0))
        self.patch_head = nn.Linear(self.head.in_features, classes) if self.prefix else None
        self.heads = nn.ModuleList(filter(None, (self.head, self.patch_head)))
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        decayed = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95))
        self.random = _Random(config.seed)
        self.step = 0

    def train_step(self, images: Tensor, labels: Tensor) -> float:
        """One optimiser step on a random batch of uint8 images; returns its loss."""
        config = self.config
        warm = min(1.0, (self.step + 1) / config.warmup) if config.warmup else 1.0
        decay = 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * warm * (decay + 0.01)
        batch = torch.randint(len(images), (config.batch_size,), generator=self.random.generator)
        grown = min(1.0, self.step / (config.ramp * config.steps)) if config.ramp else 1.0
        kept = torch.nonzero(self.random.unit(self.depth) >= grown * config.block_drop).flatten().tolist()
        precision = torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16)
        with only_blocks(self.model, kept), precision:
            model: Any = self.model
            tokens = model.forward_features(augment(images[batch], self.random, grown * config.inversion))
            outputs = [self.head(model.forward_head(tokens))]
            if self.patch_head is not None:
                outputs.append(self.patch_head(tokens[:, self.prefix :].mean(1)))
        losses = [F.cross_entropy(x.float(), labels[batch], label_smoothing=config.label_smoothing) for x in outputs]
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        return losses[0].item()

    @torch.inference_mode()
    def accuracy(self, images: Tensor, labels: Tensor, kept: Sequence[int]) -> float:
        """Accuracy of the sub-model of the kept blocks on uint8 images."""
        self.model.eval()
        with only_blocks(self.model, kept):
            hits = [
                self.head(self.model(x.float() / 127.5 - 1)).argmax(1) == y
                for x, y in zip(images.split(512), labels.split(512), strict=True)
            ]
        self.model.train()
        return torch.cat(hits).float().mean().item()

    def save(self, path: Path) -> None:
        """Writes the state, replacing the old one only once it is complete."""
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.generator.get_state(),
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Continues from a saved state of the same configuration."""
        state = torch.load(path, weights_only=True)
        if state["config"] != asdict(self.config):
            raise SettingError("out", self.config.out, f"{path} belongs to another configuration; remove it")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.generator.set_state(state["random"])


def export(model: nn.Module, path: Path) -> None:
    """Writes the weights in half precision, replacing an old file only once they are complete."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, partial)
    os.replace(partial, path)


def pretrain(config: PretrainConfig) -> Path:
    """Trains a backbone to name glyphs and writes it; continues where an interrupted run left off.

    Returns:
        The safetensors file, `config.out`: the backbone's state dict in half precision.
    """
    check(config)
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    state = out.with_name(out.name + ".state")
    images, labels = load_images(config.data, "train")
    held = load_images(config.data, "validation")
    run = _Run(config, int(labels.max()) + 1)
    if state.exists():
        run.load(state)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("pretraining", total=config.steps)
        while run.step < config.steps:
            loss = run.train_step(images, labels)
            progress.update(task, completed=run.step, description=f"loss {loss:.2f}")
            if run.step % config.checkpoint_every == 0 or run.step == config.steps:
                run.save(state)
                export(run.model, out)
                progress.console.print(_report(run, loss, held))
    export(run.model, out)
    return out


def _report(run: _Run, loss: float, held: tuple[Tensor, Tensor]) -> str:
    """Validation accuracy of the whole backbone and of parts of it."""
    parts = {
        "all": range(run.depth),
        "every second": range(0, run.depth, 2),
        "first quarter": range(run.depth // 4),
    }
    values = ", ".join(f"{name} {run.accuracy(*held, list(kept)):.3f}" for name, kept in parts.items())
    return f"step {run.step}: loss {loss:.2f}, validation accuracy: {values}"


def main(overrides: list[str]) -> int:
    """Command line; returns the exit code, 2 for a setting that cannot work."""
    try:
        pretrain(compose_named("pretrain", PretrainConfig, overrides, CONF))
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
