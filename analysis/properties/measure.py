"""The five properties of a data set and a backbone, each from a probe or a centrally tuned model.

Settings are chosen on the validation split; every figure is of the test split.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from analysis.glyphs.pretrain import only_blocks, plain_attention
from analysis.properties.data import Data, Split
from fedra_ray.config.schema import LoraConfig
from fedra_ray.model.backbone import find_targets
from fedra_ray.model.lora import LoraLinear

LORA = LoraConfig(rank=8, alpha=16)
LORA_RATES = (1e-3, 3e-3, 1e-2)
HEAD_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
PROBE_DECAYS = (1e-4, 1e-3, 1e-2, 1e-1)  # of the squared weights, beside the mean cross-entropy
BATCH = 64

_EVALUATED = 256


@dataclass(frozen=True)
class Effort:
    """How much is spent on the properties that need tuning.

    Attributes:
        steps: Steps of 64 images of LoRA and of a head on all domains; a third of that on one domain.
        draws: Random halves of the blocks.
        bfloat16: Compute in bfloat16 where that is safe.
    """

    steps: int = 300
    draws: int = 4
    bfloat16: bool = False


@dataclass(frozen=True)
class Properties:
    """Test accuracies in [0, 1], each the mean over the domains."""

    probe_all: float
    probe_quarter: float
    probe_half: float
    head: float
    lora: float
    own_domain: float
    other_domains: float


@torch.no_grad()
def forward(model: nn.Module, images: Tensor, bfloat16: bool = False) -> Tensor:
    """The model's outputs (n, ...) in float32."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        return torch.cat([model(batch).float() for batch in images.split(_EVALUATED)])


def probe(model: nn.Module, kept: Sequence[int], data: Data) -> float:
    """Test accuracy of logistic regression, its penalty chosen on validation, on the sub-model of the kept blocks."""
    with only_blocks(model, kept):
        features = {name: forward(model, split.images).numpy() for name, split in data.splits.items()}
    labels = data.splits["train"].labels.numpy()
    probes = [
        make_pipeline(StandardScaler(), LogisticRegression(C=1 / (2 * decay * len(labels)), max_iter=200))
        for decay in PROBE_DECAYS
    ]
    for fitted in probes:
        fitted.fit(features["train"], labels)

    def accuracy(fitted: Pipeline, split: str) -> float:
        return data.splits[split].mean_accuracy(torch.from_numpy(fitted.predict(features[split])))

    return accuracy(max(probes, key=lambda fitted: accuracy(fitted, "validation")), "test")


def with_lora(model: nn.Module, classes: int) -> nn.Sequential:
    """The model with LoRA in every block, in the usual places of its family, and a new head."""
    targets = find_targets(model, None)
    for block in model.blocks:
        for target in targets:
            adapted = LoraLinear(block.get_submodule(target), LORA)
            nn.init.kaiming_uniform_(adapted.lora_A, a=5**0.5)
            nn.init.zeros_(adapted.lora_B)
            block.set_submodule(target, adapted)
    return nn.Sequential(model, nn.Linear(model.num_features, classes))  # type: ignore[arg-type]


def train(model: nn.Module, split: Split, steps: int, rate: float, seed: int, bfloat16: bool = False) -> nn.Module:
    """Train what is not frozen with Adam and a cosine schedule; returns the model."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(len(split.images), (BATCH,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = model(split.images[batch])
        loss = F.cross_entropy(outputs.float(), split.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


class Measuring:
    """Measures one backbone on one data set.

    Args:
        load: Returns the frozen backbone anew.
        data: The data set.
        effort: What may be spent.
        seed: Of first values, batches and drawn blocks.
        rate: LoRA's learning rate; None to choose it on validation.
    """

    def __init__(
        self, load: Callable[[], nn.Module], data: Data, effort: Effort, seed: int, rate: float | None = None
    ) -> None:
        self.load, self.data, self.effort, self.seed, self.rate = load, data, effort, seed, rate

    def properties(self) -> Properties:
        """All of them; afterwards `rate` is the learning rate that was chosen."""
        model: Any = self._loaded()
        depth = len(model.blocks)
        rng = random.Random(self.seed)
        halves = [sorted(rng.sample(range(depth), depth // 2)) for _ in range(self.effort.draws)]
        tuned = self._tuned_on_all()
        own, others = self._tuned_on_one()
        return Properties(
            probe_all=probe(model, range(depth), self.data),
            probe_quarter=probe(model, range(depth // 4), self.data),
            probe_half=float(np.mean([probe(model, kept, self.data) for kept in halves])),
            head=self._head_alone(model),
            lora=self._accuracy(tuned, self.data.splits["test"]),
            own_domain=own,
            other_domains=others,
        )

    def _loaded(self) -> nn.Module:
        model = self.load()
        if self.effort.bfloat16:
            plain_attention(model)
        return model

    def _accuracy(self, model: nn.Module, split: Split) -> float:
        return split.mean_accuracy(forward(model, split.images, self.effort.bfloat16).argmax(1))

    def _lora(self, split: Split, steps: int, rate: float) -> nn.Module:
        torch.manual_seed(self.seed)
        model = with_lora(self._loaded(), len(self.data.classes))
        return train(model, split, steps, rate, self.seed, self.effort.bfloat16)

    def _tuned_on_all(self) -> nn.Module:
        """The model with LoRA of the best rate on validation."""
        rates = LORA_RATES if self.rate is None else (self.rate,)
        models = {rate: self._lora(self.data.splits["train"], self.effort.steps, rate) for rate in rates}
        if len(models) > 1:
            scores = {rate: self._accuracy(model, self.data.splits["validation"]) for rate, model in models.items()}
            self.rate = max(scores, key=lambda rate: scores[rate])
        return models[self.rate] if self.rate is not None else next(iter(models.values()))

    def _tuned_on_one(self) -> tuple[float, float]:
        """Mean test accuracy on the own domain and on the others, over models tuned on one domain each."""
        assert self.rate is not None
        parts = [self.data.splits["test"].of_domain(index) for index in range(len(self.data.domains))]
        own, others = [], []
        for index in range(len(parts)):
            model = self._lora(self.data.splits["train"].of_domain(index), max(1, self.effort.steps // 3), self.rate)
            scores = [self._accuracy(model, part) for part in parts]
            own.append(scores[index])
            others.append(float(np.mean(scores[:index] + scores[index + 1 :])))
        return float(np.mean(own)), float(np.mean(others))

    def _head_alone(self, model: nn.Module) -> float:
        """Test accuracy of a head on the frozen backbone, trained as LoRA is, its rate chosen on validation."""
        splits = self.data.splits
        cached = {name: Split(forward(model, s.images), s.labels, s.domains) for name, s in splits.items()}
        heads = []
        for rate in HEAD_RATES:
            torch.manual_seed(self.seed)
            head = nn.Linear(model.num_features, len(self.data.classes))  # type: ignore[arg-type]
            heads.append(train(head, cached["train"], self.effort.steps, rate, self.seed))
        best = max(
            heads, key=lambda head: cached["validation"].mean_accuracy(head(cached["validation"].images).argmax(1))
        )
        return cached["test"].mean_accuracy(best(cached["test"].images).argmax(1))
