from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedra_ray.client.training import train_client
from fedra_ray.config.schema import BackboneConfig, LoraConfig, TrainingConfig
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.fedra import FedRA
from fedra_ray.methods.headonly import HeadOnly
from fedra_ray.methods.local import LocalRound
from fedra_ray.methods.method import Method, Problem
from fedra_ray.model.submodel import Batch, SubModel
from fedra_ray.testing.examples import Given

CONFIG = TrainingConfig(
    lr=0.1, head_lr=0.2, momentum=0.9, weight_decay=0.05, batch_size=64, max_steps=None, clip_norm=None
)
TASK = ClientTask(round=2, client=1, layers=(0, 2), named=("head",))


@pytest.fixture
def model(vit_config: BackboneConfig, make_model: Callable[..., SubModel]) -> SubModel:
    return make_model(vit_config, lora=LoraConfig(rank=2, alpha=3.0, dropout=0.1))


@pytest.fixture
def values(model: SubModel, random_values: Callable[..., np.ndarray]) -> np.ndarray:
    found = random_values(model.layout)
    found.flags.writeable = False  # as the object store gives it
    return found


class Recording(FedRA):
    """FedRA that notes the first pixel of every image of every batch."""

    def __init__(self) -> None:
        super().__init__(Problem(4, (2,)))
        self.batches: list[list[float]] = []

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        self.batches.append(batch.inputs[:, 0, 0, 0].tolist())
        return super().loss(model, batch, local)


def numbered(count: int) -> tuple[Tensor, Tensor]:
    """Images that carry their number in the first pixel, and labels."""
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    images[:, 0, 0, 0] = torch.arange(count)
    return images, torch.arange(count) % 3


def train(
    model: SubModel,
    values: np.ndarray,
    config: TrainingConfig,
    task: ClientTask = TASK,
    count: int = 12,
    method: Method | None = None,
    seed: int = 0,
) -> ClientUpdate:
    task = replace(task, max_steps=config.max_steps)
    return train_client(
        model, method or FedRA(Problem(4, (2,))), Given(*numbered(count)), ServerState(values), {}, task, config, seed
    )


def by_hand(model: SubModel, values: np.ndarray, config: TrainingConfig, steps: int) -> np.ndarray:
    """SGD over all twelve images at once, written out: v <- mu v + clipped gradient + wd p; p <- p - lr v."""
    images, labels = numbered(12)
    held = model.layout.held(TASK.layers, TASK.sent)
    model.load(values, held)
    model.eval()  # these cases have no dropout
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    rates = [config.head_lr if name.startswith("heads.") else config.lr for name in trained]
    velocities = [torch.zeros_like(parameter) for parameter in trained.values()]
    for _ in range(steps):
        loss = functional.cross_entropy(model.logits(images, TASK.layers), labels)
        gradients = torch.autograd.grad(loss, [*trained.values()])
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        scale = 1.0 if config.clip_norm is None else min(1.0, config.clip_norm / float(norm))
        with torch.no_grad():
            for parameter, velocity, gradient, rate in zip(trained.values(), velocities, gradients, rates, strict=True):
                velocity.mul_(config.momentum).add_(scale * gradient + config.weight_decay * parameter)
                parameter.sub_(rate * velocity)
    return model.pack(held)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("clip_norm", [None, 0.05, 1e6])
def test_local_training_is_sgd_with_momentum_decay_and_clipping(
    steps: int,
    clip_norm: float | None,
    vit_config: BackboneConfig,
    make_model: Callable[..., SubModel],
    values: np.ndarray,
) -> None:
    model = make_model(vit_config)
    config = replace(CONFIG, clip_norm=clip_norm, local_epochs=steps)
    update = train(model, values, config)
    expected = by_hand(model, values, config, steps)
    assert np.abs(update.values - model.layout.pack(values, model.layout.held((0, 2), ["head"]))).max() > 1e-3
    np.testing.assert_allclose(update.values, expected, rtol=1e-5, atol=1e-6)


def test_update_reports_examples_steps_and_mean_loss(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel], values: np.ndarray
) -> None:
    model = make_model(vit_config)
    update = train(model, values, replace(CONFIG, local_epochs=2))
    losses = []
    images, labels = numbered(12)
    for steps in (0, 1):
        by_hand(model, values, CONFIG, steps)
        losses.append(functional.cross_entropy(model.logits(images, TASK.layers), labels).item())
    assert update.task == TASK
    assert (update.examples, update.steps, update.attempt) == (12, 2, 1)
    assert update.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert update.seconds > 0


@pytest.mark.parametrize(
    ("epochs", "max_steps", "sizes"),
    [
        (1, None, [4, 4, 2]),
        (2, None, [4, 4, 2, 4, 4, 2]),
        (1, 2, [4, 4]),
        (2, 4, [4, 4, 2, 4]),
        (1, 9, [4, 4, 2]),
    ],
)
def test_steps_are_passes_over_the_data_cut_off_at_max_steps(
    epochs: int, max_steps: int | None, sizes: list[int], model: SubModel, values: np.ndarray
) -> None:
    method = Recording()
    config = replace(CONFIG, batch_size=4, local_epochs=epochs, max_steps=max_steps)
    update = train(model, values, config, count=10, method=method)
    assert [len(batch) for batch in method.batches] == sizes
    assert update.steps == len(sizes)
    assert update.examples == 10


def test_every_pass_takes_each_image_once_in_a_new_order(model: SubModel, values: np.ndarray) -> None:
    method = Recording()
    train(model, values, replace(CONFIG, batch_size=5, local_epochs=2), count=10, method=method)
    first, second = [*method.batches[0], *method.batches[1]], [*method.batches[2], *method.batches[3]]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_another_client_in_between_changes_no_bit(model: SubModel, values: np.ndarray) -> None:
    config = replace(CONFIG, batch_size=4)
    first = train(model, values, config)
    other = train(model, values, config, replace(TASK, client=2, layers=(0, 1, 3)))
    again = train(model, values, config)
    assert first.values.tobytes() == again.values.tobytes()
    assert first.loss == again.loss
    assert other.loss != first.loss


def test_layers_that_run_frozen_are_the_global_ones(model: SubModel, values: np.ndarray) -> None:
    head_only = replace(TASK, layers=(), frozen=(0, 1, 2, 3))
    first = train(model, values, CONFIG, head_only, method=HeadOnly(Problem(4, (4,))))
    train(model, values, CONFIG, replace(TASK, layers=(0, 1, 2, 3)))
    again = train(model, values, CONFIG, head_only, method=HeadOnly(Problem(4, (4,))))
    assert first.values.tobytes() == again.values.tobytes()


@pytest.mark.parametrize("change", [{"round": 3}, {"client": 2}])
def test_round_and_client_choose_the_random_numbers(
    change: dict[str, int], model: SubModel, values: np.ndarray
) -> None:
    first, second = Recording(), Recording()
    train(model, values, CONFIG, method=first)
    train(model, values, CONFIG, replace(TASK, **change), method=second)
    assert first.batches != second.batches


def test_the_seed_chooses_the_random_numbers(model: SubModel, values: np.ndarray) -> None:
    first, second = Recording(), Recording()
    train(model, values, CONFIG, method=first, seed=0)
    train(model, values, CONFIG, method=second, seed=1)
    assert first.batches != second.batches


def test_training_leaves_the_global_values_alone(model: SubModel, values: np.ndarray) -> None:
    before = values.tobytes()
    train(model, values, CONFIG)
    assert values.tobytes() == before


def test_bf16_stays_near_fp32(
    vit_config: BackboneConfig, make_model: Callable[..., SubModel], model: SubModel, values: np.ndarray
) -> None:
    halves = make_model(vit_config, lora=LoraConfig(rank=2, alpha=3.0, dropout=0.1))
    halves.backbone.bfloat16()
    config = replace(CONFIG, local_epochs=2, clip_norm=1.0)
    full = train(model, values, config)
    mixed = train(halves, values, config)
    start = model.layout.pack(values, model.layout.held(TASK.layers, TASK.sent))
    assert mixed.values.dtype == np.float32
    assert mixed.values.tobytes() != full.values.tobytes()
    assert mixed.loss == pytest.approx(full.loss, rel=0.05)
    assert np.linalg.norm(mixed.values - full.values) < 0.1 * np.linalg.norm(full.values - start)
