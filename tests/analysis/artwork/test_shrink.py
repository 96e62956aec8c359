"""A narrower transformer starts from what the wider one knows."""

import pytest
import torch
from torch import nn

from analysis.artwork.shrink import Shrinker, main_directions, plane, reduce_pair
from fedra_ray.model.backbone import create_model

WIDTH, SIDE, PATCH = 24, 32, 16


def test_the_plane_is_orthonormal_and_without_mean() -> None:
    basis = plane(7)
    torch.testing.assert_close(basis.T @ basis, torch.eye(6))
    torch.testing.assert_close(basis.sum(0), torch.zeros(6), atol=1e-5, rtol=0)


def test_main_directions_hold_all_of_vectors_in_a_plane() -> None:
    basis = torch.linalg.qr(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)))[0]
    basis -= basis.mean(0)
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)) @ basis.T
    found = main_directions(vectors + 5, 3)  # what is common to all channels is taken out
    torch.testing.assert_close(vectors @ found @ found.T, vectors, atol=1e-4, rtol=1e-3)


def test_products_of_vectors_of_low_rank_are_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(40, 2, generator=generator) @ torch.randn(2, 6, generator=generator)
    right = torch.randn(30, 6, generator=generator)
    first, second = reduce_pair(left, right, 2)
    torch.testing.assert_close((left @ first.T) @ (right @ second.T).T, left @ right.T, atol=0.1, rtol=0.05)


@pytest.fixture
def teacher() -> nn.Module:
    """A small ViT with LayerScale, whose norms are not those of a new one."""
    torch.manual_seed(0)
    sizes = {"img_size": SIDE, "patch_size": PATCH, "depth": 3, "embed_dim": WIDTH, "num_heads": 2, "init_values": 0.5}
    model = create_model("vit_tiny_patch16_224", sizes)
    for name, value in model.named_parameters():
        if "norm" in name and not name.startswith("norm."):
            value.data += 0.2 * torch.randn_like(value)
        elif value.ndim > 1:
            value.data *= 5
    return model.eval()


def test_without_making_it_narrower_the_student_sees_what_the_teacher_sees(teacher: nn.Module) -> None:
    images = torch.randn(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    sizes = {"img_size": SIDE, "patch_size": PATCH, "depth": 3, "embed_dim": WIDTH, "num_heads": 2}
    student = create_model("vit_tiny_patch16_224", sizes).eval()
    student.load_state_dict(Shrinker(teacher, images, WIDTH).state(PATCH))
    with torch.no_grad():
        seen, shown = teacher(images), student(images)
    # up to a rotation, and a ridge in the fits
    torch.testing.assert_close(shown @ shown.T, seen @ seen.T, atol=0.4, rtol=0.02)
    assert seen.std(0).mean() > 0.3  # the images look different to the teacher, so that the comparison says something


def test_half_the_width_keeps_most_of_what_tells_images_apart(teacher: nn.Module) -> None:
    images = torch.randn(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    half = WIDTH // 2
    sizes = {"img_size": SIDE // 2, "patch_size": PATCH // 2, "depth": 3, "embed_dim": half, "num_heads": 2}
    student = create_model("vit_tiny_patch16_224", sizes).eval()
    state = Shrinker(teacher, images, half).state(PATCH // 2)
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in student.state_dict().items()
    }
    assert all(torch.isfinite(value).all() for value in state.values())
