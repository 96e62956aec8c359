"""Measures, without any federated run, whether the embedded benchmark can tell methods for sub-models apart.

    python -m analysis.questions.properties --backbone glyph_vit --out properties.json

Five questions, each with the answer that the benchmark needs:
  depth: is a linear probe after the first quarter of the blocks at least 20 points below one after all of them?
  sub-models: do random halves of the blocks keep at least 80 % of the full model's probe accuracy?
  tuning: does LoRA on all domains gain at least 10 points over a head alone?
  domains: does LoRA on one domain lose at least 15 points on the others?
  ceiling: does LoRA on all domains reach at least 85 % mean test accuracy?
Settings are chosen on the validation split; the printed numbers are of the test split.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
import yaml
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from analysis.glyphs.images import load_images
from analysis.glyphs.pretrain import only_blocks
from fedra_ray.config.schema import LoraConfig
from fedra_ray.config.units import mean_over_domains
from fedra_ray.model.backbone import create_model, find_targets
from fedra_ray.model.lora import LoraLinear

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "fedra_ray" / "assets"
LORA = LoraConfig(rank=8, alpha=16)
LORA_RATES = (1e-3, 3e-3, 1e-2)
HEAD_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
PROBE_DECAYS = (1e-4, 1e-3, 1e-2)  # of the squared weights, beside the mean cross-entropy


@dataclass(frozen=True)
class Split:
    """Images in [-1, 1] (n, 3, 32, 32), labels (n,) and domains (n,) of one split."""

    images: Tensor
    labels: Tensor
    domains: Tensor

    def of_domain(self, index: int) -> "Split":
        """The part of one domain."""
        mask = self.domains == index
        return Split(self.images[mask], self.labels[mask], self.domains[mask])


@dataclass(frozen=True)
class Data:
    """The benchmark's splits by name and the names of its domains."""

    splits: dict[str, Split]
    domains: list[str]


def load_data(path: Path) -> Data:
    """The embedded benchmark, in memory."""
    columns = pq.read_table(path, columns=["domain", "split"]).to_pydict()
    names = list(dict.fromkeys(columns["domain"]))
    splits = {}
    for split in ("train", "validation", "test"):
        images, labels = load_images(str(path), split)
        of_split = [names.index(d) for d, s in zip(columns["domain"], columns["split"], strict=True) if s == split]
        splits[split] = Split(images.float() / 127.5 - 1, labels, torch.tensor(of_split))
    return Data(splits, names)


def load_backbone(name: str) -> nn.Module:
    """An embedded backbone, frozen."""
    config = yaml.safe_load((ROOT / "conf" / "backbone" / f"{name}.yaml").read_text(encoding="utf-8"))
    model = create_model(config["model"], config["model_args"])
    model.load_state_dict(load_file(ASSETS / f"{name}.safetensors"))
    return model.eval().requires_grad_(False)


def mean_accuracy(logits: Tensor, split: Split) -> float:
    """Accuracy averaged over the domains present."""
    return _mean_over_domains(logits.argmax(1), split)


def _mean_over_domains(predicted: Tensor, split: Split) -> float:
    hits = (predicted == split.labels).float()
    return mean_over_domains([hits[split.domains == domain].mean().item() for domain in split.domains.unique()])


@torch.inference_mode()
def forward(model: nn.Module, images: Tensor) -> Tensor:
    """The model's outputs in batches."""
    return torch.cat([model(batch) for batch in images.split(512)])


def probe(model: nn.Module, kept: Sequence[int], data: Data) -> float:
    """Test accuracy of logistic regression, its penalty chosen on validation, on the sub-model of the kept blocks."""
    with only_blocks(model, kept):
        features = {name: forward(model, split.images).numpy() for name, split in data.splits.items()}
    labels = data.splits["train"].labels.numpy()
    probes = [
        make_pipeline(StandardScaler(), LogisticRegression(C=1 / (2 * decay * len(labels)), max_iter=300))
        for decay in PROBE_DECAYS
    ]
    for fitted in probes:
        fitted.fit(features["train"], labels)

    def accuracy(fitted: Pipeline, split: str) -> float:
        return _mean_over_domains(torch.from_numpy(fitted.predict(features[split])), data.splits[split])

    return accuracy(max(probes, key=lambda fitted: accuracy(fitted, "validation")), "test")


def with_lora(model: nn.Module, classes: int) -> nn.Sequential:
    """The model with LoRA in every block, in the usual places of its family, and a new head."""
    targets = find_targets(model, None)
    for block in model.blocks:  # type: ignore[union-attr]
        for target in targets:
            adapted = LoraLinear(block.get_submodule(target), LORA)
            nn.init.kaiming_uniform_(adapted.lora_A, a=5**0.5)
            nn.init.zeros_(adapted.lora_B)
            block.set_submodule(target, adapted)
    return nn.Sequential(model, nn.Linear(model.num_features, classes))  # type: ignore[arg-type]


def train(model: nn.Module, split: Split, steps: int, rate: float, seed: int = 0) -> nn.Module:
    """Train what is not frozen with Adam on batches of 64 and a cosine schedule; returns the model."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(len(split.images), (64,), generator=generator)
        loss = F.cross_entropy(model(split.images[batch]), split.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def best_rate(make: Callable[[], nn.Module], data: Data, steps: int, rates: Sequence[float]) -> tuple[float, nn.Module]:
    """The learning rate with the best validation accuracy and its model."""
    runs = []
    for rate in rates:
        torch.manual_seed(0)
        model = train(make(), data.splits["train"], steps, rate)
        runs.append(
            (mean_accuracy(forward(model, data.splits["validation"].images), data.splits["validation"]), rate, model)
        )
    _, rate, model = max(runs, key=lambda run: run[0])
    return rate, model


def head_alone(name: str, data: Data, steps: int) -> float:
    """Test accuracy of a head on the frozen backbone, trained as LoRA is."""
    model = load_backbone(name)
    features = {n: Split(forward(model, s.images), s.labels, s.domains) for n, s in data.splits.items()}
    cached = Data(features, data.domains)
    classes = int(data.splits["train"].labels.max()) + 1
    _, head = best_rate(lambda: nn.Linear(model.num_features, classes), cached, steps, HEAD_RATES)  # type: ignore[arg-type]
    return mean_accuracy(forward(head, features["test"].images), features["test"])


def one_domain(name: str, data: Data, steps: int, rate: float) -> tuple[float, float]:
    """Mean test accuracy on the own domain and on the others, over models tuned on one domain each."""
    own, others = [], []
    test = data.splits["test"]
    classes = int(data.splits["train"].labels.max()) + 1
    for index in range(len(data.domains)):
        torch.manual_seed(0)
        model = train(with_lora(load_backbone(name), classes), data.splits["train"].of_domain(index), steps, rate)
        scores = [
            mean_accuracy(forward(model, part.images), part) for part in map(test.of_domain, range(len(data.domains)))
        ]
        own.append(scores[index])
        others.append(float(np.mean(scores[:index] + scores[index + 1 :])))
    return float(np.mean(own)), float(np.mean(others))


@dataclass(frozen=True)
class Properties:
    """Test accuracies in [0, 1] of one backbone on the embedded benchmark."""

    backbone: str
    probe_all: float
    probe_quarter: float
    probe_half: float
    head: float
    lora: float
    own_domain: float
    other_domains: float

    def verdicts(self) -> list[tuple[str, str, str, bool]]:
        """Question, measured, required, held."""
        depth, kept = self.probe_all - self.probe_quarter, self.probe_half / self.probe_all
        gain, loss = self.lora - self.head, self.own_domain - self.other_domains
        return [
            ("depth", f"{100 * depth:.1f} points", ">= 20", depth >= 0.2),
            ("sub-models", f"{100 * kept:.1f} %", ">= 80", kept >= 0.8),
            ("tuning", f"{100 * gain:.1f} points", ">= 10", gain >= 0.1),
            ("domains", f"{100 * loss:.1f} points", ">= 15", loss >= 0.15),
            ("ceiling", f"{100 * self.lora:.1f} %", ">= 85", self.lora >= 0.85),
        ]


def measure(name: str, data: Data, steps: int, draws: int) -> Properties:
    """All properties of one backbone."""
    model = load_backbone(name)
    depth = len(model.blocks)  # type: ignore[arg-type]
    rng = random.Random(0)
    halves = [sorted(rng.sample(range(depth), depth // 2)) for _ in range(draws)]
    classes = int(data.splits["train"].labels.max()) + 1
    rate, tuned = best_rate(lambda: with_lora(load_backbone(name), classes), data, steps, LORA_RATES)
    own, others = one_domain(name, data, steps // 3, rate)
    return Properties(
        backbone=name,
        probe_all=probe(model, range(depth), data),
        probe_quarter=probe(model, range(depth // 4), data),
        probe_half=float(np.mean([probe(model, kept, data) for kept in halves])),
        head=head_alone(name, data, steps),
        lora=mean_accuracy(forward(tuned, data.splits["test"].images), data.splits["test"]),
        own_domain=own,
        other_domains=others,
    )


def show(console: Console, results: Sequence[Properties]) -> None:
    """Print the accuracies and the verdicts."""
    for result in results:
        table = Table("property", "measured", "required", "held", title=result.backbone)
        for question, measured, required, held in result.verdicts():
            table.add_row(question, measured, required, "[green]yes" if held else "[red]no")
        values: dict[str, Any] = {k: v for k, v in asdict(result).items() if k != "backbone"}
        table.caption = ", ".join(f"{key} {value:.3f}" for key, value in values.items())
        console.print(table)


def main() -> None:
    """Measure the backbones that the command line names, print the verdicts and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", nargs="+", default=["glyph_vit", "glyph_mixer"])
    parser.add_argument("--data", type=Path, default=ASSETS / "glyphs.parquet")
    parser.add_argument("--steps", type=int, default=900, help="steps of pooled LoRA; a third on one domain")
    parser.add_argument("--draws", type=int, default=6, help="random halves of the blocks")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    data = load_data(arguments.data)
    results = [measure(name, data, arguments.steps, arguments.draws) for name in arguments.backbone]
    show(Console(), results)
    if arguments.out:
        arguments.out.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
