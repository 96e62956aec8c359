import numpy as np
import pytest

from fedra_ray.config.schema import TrainingConfig
from fedra_ray.federation.steps import epoch_steps, full_steps, images_seen, step_bound

SIZES = np.array([100, 33, 8, 64])  # images of four clients


@pytest.mark.parametrize(
    ("examples", "batch_size", "epochs", "steps"),
    [(64, 32, 1, 2), (65, 32, 1, 3), (1, 32, 1, 1), (33, 32, 3, 6), (5, 1, 2, 10)],
)
def test_an_epoch_ends_with_what_is_left(examples: int, batch_size: int, epochs: int, steps: int) -> None:
    assert full_steps(examples, TrainingConfig(batch_size=batch_size, local_epochs=epochs)) == steps


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({}, None),
        ({"max_steps": 3}, 3),
        ({"step_cap": "cohort"}, 5),  # client 1: 33 images in batches of 8
        ({"step_cap": "fleet"}, 1),  # client 2: 8 images
        ({"step_cap": "cohort", "max_steps": 3}, 3),
        ({"step_cap": "fleet", "max_steps": 3}, 1),
        ({"step_cap": "cohort", "extra_step": True}, 6),
        ({"step_cap": "fleet", "extra_step": True}, 2),
        ({"step_cap": "fleet", "extra_step": True, "max_steps": 1}, 1),
        ({"step_cap": "fleet", "local_epochs": 4}, 4),
        ({"step_cap": "cohort", "local_epochs": 2, "extra_step": True}, 11),
        ({"max_steps": 3, "extra_step": True}, 3),
        ({"step_cap": "cohort", "local_epochs": 2, "extra_step": True, "cap_per_epoch": True}, 12),
    ],
    ids=str,
)
def test_nobody_takes_more_steps_than_the_smallest_client(settings: dict[str, object], bound: int | None) -> None:
    config = TrainingConfig(**{"batch_size": 8, "max_steps": None} | settings)  # type: ignore[arg-type]
    found = step_bound(config, SIZES, [0, 1, 3])
    assert found == bound
    assert found is None or type(found) is int


def test_without_a_step_cap_sizes_are_not_needed() -> None:
    assert step_bound(TrainingConfig(max_steps=2), np.empty(0, dtype=np.int64), [0, 1]) == 2


@pytest.mark.parametrize("step_cap", ["none", "cohort", "fleet"])
def test_an_empty_cohort_has_no_smallest_client(step_cap: str) -> None:
    assert step_bound(TrainingConfig(step_cap=step_cap, max_steps=2), SIZES, []) == 2


def test_with_a_cap_per_epoch_every_epoch_ends_early() -> None:
    config = TrainingConfig(batch_size=8, local_epochs=3, max_steps=None, step_cap="fleet", extra_step=True)
    config.cap_per_epoch = True
    bound = step_bound(config, SIZES, [0, 1, 3])
    assert bound == 6  # 8 images in a batch of 8 and one step more, three times
    assert (epoch_steps(100, bound, config), epoch_steps(8, 3, config)) == (2, 1)
    assert (images_seen(100, 6, config), images_seen(8, 3, config)) == (48, 24)
