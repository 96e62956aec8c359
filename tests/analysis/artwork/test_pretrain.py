"""The pre-training goes on where it was stopped; moved copies are drawings on white paper."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("onnx")  # of the extra `data`, which reads the teacher

from analysis.artwork.augment import Strength, augment
from analysis.artwork.naming import Naming, read
from analysis.artwork.pretrain import MODEL, MODEL_ARGS, Drawings, Run, Settings
from fedra_ray.model.backbone import create_model

SETTINGS = Settings(steps=3, imitation=2, batch=4, warmup=1)
TEACHER = {"img_size": 84, "patch_size": 14, "depth": 12, "embed_dim": 24, "num_heads": 2}


@pytest.fixture
def initial() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return create_model(MODEL, MODEL_ARGS).state_dict()


@pytest.fixture
def drawings() -> Drawings:
    """Eight drawings of three names."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 84, 84), generator=generator, dtype=torch.uint8)
    return Drawings(images, torch.arange(8) % 3, ["bat", "cat", "dog"])


def started(initial: dict[str, Tensor], settings: Settings = SETTINGS) -> Run:
    torch.manual_seed(1)
    teacher = create_model("vit_tiny_patch16_224", TEACHER).requires_grad_(False).eval()
    model = create_model(MODEL, MODEL_ARGS)
    model.load_state_dict(initial)
    return Run(settings, model, torch.eye(3, 16), teacher)


def test_an_interrupted_run_ends_as_an_undisturbed_one(
    initial: dict[str, Tensor], drawings: Drawings, tmp_path: Path
) -> None:
    whole, first, second = started(initial), started(initial), started(initial)
    losses = [whole.train_step(drawings) for _ in range(3)]
    assert first.train_step(drawings) == losses[0]
    first.save(tmp_path / "checkpoint.pt")
    second.resume(tmp_path / "checkpoint.pt")
    assert [second.train_step(drawings) for _ in range(2)] == losses[1:]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])


def test_the_maps_start_from_a_fit_and_imitation_gets_closer(initial: dict[str, Tensor]) -> None:
    run = started(initial)
    images = torch.randn(8, 3, 84, 84, generator=torch.Generator().manual_seed(0))
    assert run.imitation
    before = run.imitation.loss(images, range(12)).item()
    run.imitation.fit(images)
    fitted = run.imitation.loss(images, range(12)).item()
    optimizer = torch.optim.Adam(run.model.parameters(), lr=3e-5)
    for _ in range(5):
        loss = run.imitation.loss(images, range(12))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert run.imitation.loss(images, range(12)).item() < 0.9 * fitted < 0.5 * before


def test_a_teacher_learns_names_without_imitating_anything(drawings: Drawings) -> None:
    torch.manual_seed(0)
    model = create_model("vit_tiny_patch16_224", TEACHER)
    run = Run(Settings(steps=12, batch=8, warmup=1, block_drop=0.0, rate=3e-4), model, torch.eye(3, 16))
    losses = [run.train_step(drawings) for _ in range(12)]
    assert run.imitation is None
    assert sum(losses[-3:]) < sum(losses[:3])


def test_heads_start_from_a_fit_of_the_vectors_of_names(initial: dict[str, Tensor], drawings: Drawings) -> None:
    run = started(initial)
    images, names = drawings.some(8)
    naming = Naming(run.model, torch.eye(3, 16))
    before = naming.loss(run.model, images, names).item()
    naming.fit(run.model, images, names)
    assert naming.loss(run.model, images, names).item() < before
    token, mean = read(run.model, images)
    assert token.shape == mean.shape == (8, 192)


def test_a_checkpoint_goes_on_for_more_steps_but_not_with_other_settings(
    initial: dict[str, Tensor], tmp_path: Path
) -> None:
    started(initial).save(tmp_path / "checkpoint.pt")
    started(initial, Settings(steps=9, imitation=5, batch=4, warmup=1)).resume(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="other settings"):
        started(initial, Settings(steps=3, batch=8, warmup=1)).resume(tmp_path / "checkpoint.pt")


def test_copies_that_may_not_differ_are_mirrored_at_most() -> None:
    images = torch.randint(0, 256, (16, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    still = Strength(degrees=0, scale=0, shift=0)
    copies = augment(images, 12, torch.Generator().manual_seed(0), still)
    mirrored = 0
    for image, copy in zip(images.float() / 255, copies, strict=True):
        turned = torch.allclose(copy, image.flip(2), atol=1e-4)
        assert turned or torch.allclose(copy, image, atol=1e-4)
        mirrored += turned
    assert 0 < mirrored < 16


def test_copies_differ_and_white_paper_stays_white() -> None:
    images = torch.full((8, 3, 20, 20), 255, dtype=torch.uint8)
    torch.testing.assert_close(
        augment(images, 20, torch.Generator().manual_seed(0), Strength()), torch.ones(8, 3, 20, 20)
    )
    images[:, :, 8:12, 4:10] = 0
    copies = augment(images, 20, torch.Generator().manual_seed(0), Strength())
    assert copies.min() >= 0
    assert copies.max() <= 1
    assert copies.flatten(1).unique(dim=0).shape[0] == 8
