"""A Mixer starts from a ViT of its width and learns as one does."""

import pytest
import torch

pytest.importorskip("onnx")  # of the extra `data`, which reads the teacher

from analysis.artwork import mixer
from analysis.artwork.naming import read
from analysis.artwork.pretrain import MODEL, MODEL_ARGS, Drawings, Run, Settings
from fedra_ray.model.backbone import create_model


def test_a_mixer_starts_as_its_vit_without_attention_and_positions() -> None:
    torch.manual_seed(0)
    vit = create_model(MODEL, MODEL_ARGS).eval()
    own = create_model(mixer.MODEL, mixer.MODEL_ARGS).eval()
    with torch.no_grad():
        for name, value in vit.named_parameters():
            if ".attn.proj." in name:
                value.zero_()
            else:
                value += 0.1 * torch.randn_like(value)
        vit.pos_embed[:, 1:] = vit.pos_embed[:, 1:2]  # one for all patches, which a Mixer can hold
    mixer.start_from(vit, own)
    images = torch.randn(4, 3, 60, 60, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        patches = vit.forward_features(images)[:, 1:]
        torch.testing.assert_close(own.forward_features(images), patches, atol=1e-4, rtol=1e-4)


def test_a_mixer_gets_closer_to_the_patches_of_a_vit_and_to_names() -> None:
    torch.manual_seed(0)
    vit = create_model(MODEL, MODEL_ARGS).eval().requires_grad_(False)
    own = create_model(mixer.MODEL, mixer.MODEL_ARGS)
    mixer.start_from(vit, own)
    pixels = torch.randint(0, 256, (8, 3, 84, 84), dtype=torch.uint8)
    drawings = Drawings(pixels, torch.arange(8) % 3, ["bat", "cat", "dog"])
    run = Run(Settings(steps=8, imitation=8, batch=8, warmup=1, block_drop=0.0, rate=3e-4), own, torch.eye(3, 16), vit)
    assert run.imitation
    images, names = drawings.some(8)
    run.train_step(drawings)  # fits the maps first
    before = run.imitation.loss(images, range(12)).item()
    for _ in range(7):
        run.train_step(drawings)
    assert run.imitation.loss(images, range(12)).item() < 0.9 * before

    assert [features.shape for features in read(own, images)] == [(8, 192)]
    losses = []
    for _ in range(8):
        losses.append(run.naming.loss(own, images, names))
        run.optimizer.zero_grad()
        losses[-1].backward()
        run.optimizer.step()
    assert losses[-1].item() < 0.9 * losses[0].item()
