"""Pretrains a small backbone whose blocks also work in part.

Each step leaves out every block with a fixed probability (block drop, as LayerDrop of arXiv 1909.11556): FedRA gives
clients sub-models of arbitrary blocks, and a backbone trained as a whole breaks when blocks are missing.

    python -m analysis.glyphs.pretrain data=DIR/pretrain.parquet [pretrain=glyph_mixer] [steps=...]
"""

import io
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fedra_ray.model import _torchvision  # noqa: F401  (must come before timm)

from timm.layers import build_sincos2d_pos_embed  # isort: skip

from analysis.glyphs.augment import Random, augment
from analysis.glyphs.images import load_images
from analysis.glyphs.settings import PretrainConfig, check
from fedra_ray.cli.compose import compose_named
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError
from fedra_ray.model.backbone import create_model
from fedra_ray.run_dir.folder import Folder

CONF = Path(__file__).parent / "conf"


@contextmanager
def only_blocks(model: nn.Module, kept: Sequence[int]) -> Iterator[nn.Module]:
    """The model with only the blocks at these indices, in that order, for as long as the context lasts."""
    blocks = model.blocks
    model.blocks = nn.Sequential(*(blocks[index] for index in kept))  # type: ignore[arg-type]
    try:
        yield model
    finally:
        model.blocks = blocks


def plain_attention(model: nn.Module) -> None:
    """Let a model compute attention step by step: on CPUs the fused kernel is slower in bfloat16."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]


def _mark_positions(model: nn.Module) -> None:
    """Start learned positions at the sine-cosine code (arXiv 2205.01580), as large as patches; timm's are tiny."""
    positions = getattr(model, "pos_embed", None)
    if isinstance(positions, nn.Parameter):
        grid: Any = model.patch_embed.grid_size
        code = build_sincos2d_pos_embed(list(grid), dim=positions.shape[-1], interleave_sin_cos=False)
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
            plain_attention(self.model)
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
        self.random = Random(config.seed)
        self.step = 0

    def train_step(self, images: Tensor, labels: Tensor) -> float:
        """One optimiser step on a random batch.

        Args:
            images: All training images (n, 3, height, width), uint8.
            labels: Their classes (n,).

        Returns:
            The cross entropy of the main head.
        """
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
        """Accuracy in [0, 1] of the sub-model of the kept blocks on uint8 images (n, 3, height, width)."""
        self.model.eval()
        with only_blocks(self.model, kept):
            hits = [
                self.head(self.model(x.float() / 127.5 - 1)).argmax(1) == y
                for x, y in zip(images.split(512), labels.split(512), strict=True)
            ]
        self.model.train()
        return torch.cat(hits).float().mean().item()

    def state(self) -> bytes:
        """Everything that resuming needs, as a torch file."""
        buffer = io.BytesIO()
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.generator.get_state(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def resume(self, content: bytes) -> None:
        """Continue from a state of the same configuration.

        Raises:
            SettingError: if it is of another configuration.
        """
        state = torch.load(io.BytesIO(content), weights_only=True)
        if state["config"] != asdict(self.config):
            allowed = f"{self.config.out}.state belongs to another configuration; remove it"
            raise SettingError("out", self.config.out, allowed)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.generator.set_state(state["random"])

    def weights(self) -> bytes:
        """The backbone's state dict in half precision, as a safetensors file."""
        return save({name: tensor.half().contiguous() for name, tensor in self.model.state_dict().items()})


def pretrain(config: PretrainConfig) -> Path:
    """Train a backbone to name glyphs and write it; continues where an interrupted run left off.

    Returns:
        The safetensors file, `config.out`: the backbone's state dict in half precision.

    Raises:
        SettingError: for a setting that cannot work.
        RunFailedError: if a file cannot be written.
    """
    check(config)
    out = Path(config.out)
    folder = Folder(out.parent, "out")
    state = f"{out.name}.state"
    images, labels = load_images(config.data, "train")
    held = load_images(config.data, "validation")
    run = _Run(config, int(labels.max()) + 1)
    saved = folder.read(state)
    if saved is not None:
        run.resume(saved)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("pretraining", total=config.steps)
        while run.step < config.steps:
            loss = run.train_step(images, labels)
            progress.update(task, completed=run.step, description=f"loss {loss:.2f}")
            if run.step % config.checkpoint_every == 0 or run.step == config.steps:
                folder.write(state, run.state())
                folder.write(out.name, run.weights())
                progress.console.print(_report(run, loss, held))
    folder.write(out.name, run.weights())
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
    """Pretrain as the command line asks for; returns the exit code of `fedra_ray.cli.ending.exit_code`."""
    return exit_code(lambda: pretrain(compose_named("pretrain", PretrainConfig, overrides, CONF)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
