"""Learning to tell what drawings are called: InfoNCE (arXiv 1807.03748) between drawings and embeddings of names."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_RIDGE, _BATCH = 0.1, 128
_SHARPEST = 60.0


def is_fast() -> bool:
    """Whether this processor computes in bfloat16 faster than in float32: older ones do it many times slower."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def patches(model: Any) -> Any:
    """The layer of a timm ViT or MLP-Mixer that embeds patches."""
    return model.stem if hasattr(model, "stem") else model.patch_embed


def prefix(model: Any) -> int:
    """How many tokens stand before the patches': a ViT's class token, or none."""
    return getattr(model, "num_prefix_tokens", 0)


def resized(model: Any, images: Tensor) -> Tensor:
    """Images (n, 3, side, side) at the model's side."""
    size = patches(model).img_size
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def read(model: Any, images: Tensor) -> list[Tensor]:
    """What heads read of normalised images: the class token, if there is one, and the patches' mean (n, width) each."""
    with torch.autocast("cpu", torch.bfloat16, enabled=is_fast()):
        tokens = model.forward_features(resized(model, images)).float()
    first = prefix(model)
    return [*tokens[:, :first].unbind(1), tokens[:, first:].mean(1)]


class Naming(nn.Module):
    """Heads that map what `read` returns to vectors of names; thrown away after the training.

    Args:
        model: The timm ViT or MLP-Mixer that they read.
        targets: Unit vectors of the different names (names, d).
    """

    targets: Tensor

    def __init__(self, model: Any, targets: Tensor) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(model.num_features, targets.shape[1]) for _ in range(prefix(model) + 1))
        self.sharpness = nn.Parameter(torch.tensor(math.log(15.0)))
        self.register_buffer("targets", targets, persistent=False)

    @torch.no_grad()
    def fit(self, model: nn.Module, images: Tensor, names: Tensor) -> None:
        """Start the heads at the ridge regression of the names' vectors on normalised images, or they would lag."""
        seen = [read(model, batch) for batch in images.split(_BATCH)]
        for head, features in zip(self.heads, map(torch.cat, zip(*seen, strict=True)), strict=True):
            known = torch.cat([features, torch.ones(len(features), 1)], 1)
            gram = known.T @ known + _RIDGE * len(known) * torch.eye(known.shape[1])
            fitted = torch.linalg.solve(gram, known.T @ self.targets[names]).T
            head.weight.copy_(fitted[:, :-1])
            head.bias.copy_(fitted[:, -1])

    def loss(self, model: nn.Module, images: Tensor, names: Tensor) -> Tensor:
        """Mean over the heads for normalised images with the numbers of their names (n,)."""
        seen = read(model, images)
        return torch.stack(
            [self._contrast(head(part), names) for head, part in zip(self.heads, seen, strict=True)]
        ).mean()

    def _contrast(self, outputs: Tensor, names: Tensor) -> Tensor:
        """InfoNCE in both directions; drawings of one name share the probability."""
        logits = self.sharpness.exp().clamp(max=_SHARPEST) * F.normalize(outputs, dim=1) @ self.targets[names].T
        same = (names[:, None] == names).float()
        wanted = same / same.sum(1, keepdim=True)
        return -(wanted * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean() / 2
