"""Settings of a pretraining."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedra_ray.config.bounds import setting
from fedra_ray.config.errors import SettingError
from fedra_ray.config.validation import check_bounds


@dataclass
class PretrainConfig:
    """Settings of one pretraining.

    Attributes:
        model: Name of a timm model, or dotted path of a timm class.
        out: The safetensors file to write; OUT.state beside it keeps the state to resume from.
        data: Parquet file with columns image (encoded bytes), label and split.
        model_args: Keyword arguments of the model.
        initial: Safetensors file of weights to start from; null for random ones.
        steps: Optimiser steps.
        batch_size: Images per step.
        lr: Peak learning rate of AdamW; linear warm-up, then cosine decay.
        warmup: Steps of the warm-up.
        weight_decay: Weight decay of matrices.
        block_drop: Probability of leaving out a block in a step.
        inversion: Probability of light ink on dark paper.
        ramp: Share of the steps over which block_drop and inversion grow from zero, with which learning starts sooner.
        label_smoothing: Label smoothing of the cross entropy.
        checkpoint_every: Steps between checkpoints.
        bfloat16: Compute in bfloat16 where that is safe; about a quarter faster on processors with AMX.
        seed: Seed of the weights, batches, augmentation and dropped blocks.
    """

    model: str
    out: str
    data: str = "pretrain.parquet"
    model_args: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    steps: int = setting(3500, minimum=1)
    batch_size: int = setting(64, minimum=1)
    lr: float = 1e-3
    warmup: int = 150
    weight_decay: float = 0.05
    block_drop: float = setting(0.2, fraction=True)
    inversion: float = 0.3
    ramp: float = 0.3
    label_smoothing: float = 0.05
    checkpoint_every: int = setting(125, minimum=1)
    bfloat16: bool = True
    seed: int = 0


def check(config: PretrainConfig) -> None:
    """Refuse a setting that cannot work.

    Raises:
        SettingError: for the first one.
    """
    check_bounds(config)
    if config.initial is not None and not Path(config.initial).is_file():
        raise SettingError("initial", config.initial, "no such file")
    if not Path(config.data).is_file():
        raise SettingError("data", config.data, "no such file; python -m analysis.glyphs writes one")
