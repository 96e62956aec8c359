"""Imitating another model's tokens at several depths."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.artwork.naming import is_fast, patches, prefix, resized

DEPTHS = (4, 8, 12)
"""After how many blocks tokens are compared."""

_RIDGE = 1e-2
_BATCH = 128


def tokens(model: Any, images: Tensor, kept: Collection[int]) -> list[Tensor]:
    """Normalised tokens (n, tokens, width) in float32 after each of DEPTHS, with the blocks at `kept` alone."""
    found = []
    with torch.autocast("cpu", torch.bfloat16, enabled=is_fast()):
        stream = patches(model)(resized(model, images))
        stream = model._pos_embed(stream) if prefix(model) else stream
        for index, block in enumerate(model.blocks):
            stream = block(stream) if index in kept else stream
            if index + 1 in DEPTHS:
                found.append(F.layer_norm(stream.float(), stream.shape[-1:]))
    return found


class Imitation:
    """A student, a teacher with as many blocks and patches, and linear maps between their tokens.

    A student without a class token imitates the patches' tokens alone.

    Args:
        student: A timm ViT or MLP-Mixer.
        teacher: A frozen timm ViT.
    """

    def __init__(self, student: Any, teacher: Any) -> None:
        self.student, self.teacher = student, teacher
        self.maps = nn.ModuleList(nn.Linear(student.num_features, teacher.num_features) for _ in DEPTHS)

    def _wanted(self, images: Tensor) -> list[Tensor]:
        """The whole teacher's tokens, of which the student has the last ones or all."""
        everything = range(len(self.teacher.blocks))
        return [
            found[:, prefix(self.teacher) - prefix(self.student) :]
            for found in tokens(self.teacher, images, everything)
        ]

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set the maps to the ridge regression on normalised images."""
        everything = range(len(self.student.blocks))
        pairs: list[Sequence[list[Tensor]]] = [
            (tokens(self.student, batch, everything), self._wanted(batch)) for batch in images.split(_BATCH)
        ]
        for depth, own in enumerate(self.maps):
            known, wanted = (torch.cat([pair[side][depth].flatten(0, 1) for pair in pairs]) for side in range(2))
            known = torch.cat([known, torch.ones(len(known), 1)], 1)
            gram = known.T @ known + _RIDGE * len(known) * torch.eye(known.shape[1])
            fitted = torch.linalg.solve(gram, known.T @ wanted).T
            own.weight.copy_(fitted[:, :-1])
            own.bias.copy_(fitted[:, -1])

    def loss(self, images: Tensor, kept: Collection[int]) -> Tensor:
        """Mean squared difference, over depths, of the tokens of a sub-model and those of the whole teacher."""
        with torch.no_grad():
            wanted = self._wanted(images)
        seen = tokens(self.student, images, kept)
        losses = [F.mse_loss(own(s), w) for own, s, w in zip(self.maps, seen, wanted, strict=True)]
        return torch.stack(losses).mean()
