"""A transformer of half the width that starts from what a larger one knows.

The larger one's residual stream is projected onto its main directions, as SliceGPT does (arXiv 2401.15024), with one
basis for all blocks, so that the result is a plain ViT. LayerNorm's own centring is kept exact: the student's stream
lies in the plane of vectors with mean zero. Heads keep half of their dimensions, those that matter most for scores and
outputs on the given images, and the MLP the half of its neurons that moves the stream most.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_RIDGE = 1e-3


def plane(width: int) -> Tensor:
    """An orthonormal basis (width, width - 1) of the vectors with mean zero."""
    basis, _ = torch.linalg.qr(torch.cat([torch.ones(width, 1), torch.eye(width)[:, 1:]], 1))
    return basis[:, 1:]


def main_directions(stream: Tensor, count: int) -> Tensor:
    """Orthonormal directions (width, count) that hold most of the centred, normalised vectors (n, width)."""
    centred = F.normalize(stream - stream.mean(1, keepdim=True), dim=1)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return vectors.flip(1)[:, :count]


def root(second_moment: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric root of a covariance matrix and its inverse, with a small ridge."""
    ridge = _RIDGE * second_moment.diagonal().mean()
    values, vectors = torch.linalg.eigh(second_moment + ridge * torch.eye(len(second_moment)))
    return vectors * values.sqrt() @ vectors.T, vectors / values.sqrt() @ vectors.T


def reduce_pair(left: Tensor, right: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Maps (count, d) of two kinds of vectors, after which their products are kept best.

    Args:
        left: Vectors (n, d) of the one kind.
        right: Vectors (m, d) of the other.
        count: Dimensions to keep.
    """
    left_root, left_inverse = root(left.T @ left / len(left))
    right_root, right_inverse = root(right.T @ right / len(right))
    u, s, v = torch.linalg.svd(left_root @ right_root)
    weight = s[:count].sqrt()[:, None]
    return weight * (u.T[:count] @ left_inverse), weight * (v[:count] @ right_inverse)


class _Seen:
    """Inputs and outputs of a model's modules on some images, by module."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.inputs: dict[nn.Module, Tensor] = {}
        self.outputs: dict[nn.Module, Tensor] = {}
        handles = [module.register_forward_hook(self._keep) for module in model.modules()]
        with torch.no_grad():
            model(images)
        for handle in handles:
            handle.remove()

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.inputs[module], self.outputs[module] = inputs[0].detach(), output.detach()


class Shrinker:
    """Writes the state of a narrower ViT with as many blocks and heads.

    Args:
        teacher: A timm ViT with LayerScale, in evaluation mode.
        images: Normalised images (n, 3, side, side) to measure on.
        width: Width of the narrower one, a multiple of the number of heads.
    """

    def __init__(self, teacher: nn.Module, images: Tensor, width: int) -> None:
        self.teacher: Any = teacher
        self.seen = _Seen(teacher, images)
        self.width = width
        reads = [norm for block in self.teacher.blocks for norm in (block.norm1, block.norm2)] + [self.teacher.norm]
        stream = torch.cat([self.seen.inputs[norm].flatten(0, 1) for norm in reads])
        directions = main_directions(stream[torch.randperm(len(stream))[:50_000]], width - 1)
        self.into = plane(width) @ directions.T  # (width, teacher's width)
        self.into = self.into - self.into.mean(1, keepdim=True)  # centres what it reads, as LayerNorm does

    def state(self, patch: int) -> dict[str, Tensor]:
        """The state dict for patches of this side in pixels, showing what the teacher's show."""
        teacher = self.teacher
        weight = teacher.patch_embed.proj.weight
        enlarge = F.interpolate(torch.eye(patch**2).view(-1, 1, patch, patch), weight.shape[-2:], mode="bilinear")
        small = torch.einsum("ochw,phw->ocp", weight, enlarge[:, 0]).unflatten(-1, (patch, patch))
        state = {
            "cls_token": teacher.cls_token @ self.into.T,
            "pos_embed": teacher.pos_embed @ self.into.T,
            "patch_embed.proj.weight": torch.einsum("ko,ochw->kchw", self.into, small),
            "patch_embed.proj.bias": self.into @ teacher.patch_embed.proj.bias,
            "norm.weight": torch.ones(self.width),
            "norm.bias": torch.zeros(self.width),
        }
        for index, block in enumerate(teacher.blocks):
            parts = self._attention(block) | self._mlp(block)
            for name in ("norm1", "norm2"):
                parts |= {f"{name}.weight": torch.ones(self.width), f"{name}.bias": torch.zeros(self.width)}
            state |= {f"blocks.{index}.{name}": tensor for name, tensor in parts.items()}
        return state

    def _read(self, norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer behind a norm, for the narrow stream behind a norm without parameters."""
        stream = self.seen.inputs[norm].flatten(0, 1)
        centred = stream - stream.mean(1, keepdim=True)
        kept = ((centred @ self.into.T).norm(dim=1) / centred.norm(dim=1)).mean()
        scale = kept * (stream.shape[1] / self.width) ** 0.5
        return linear.weight * norm.weight @ self.into.T * scale, linear.weight @ norm.bias + linear.bias

    def _attention(self, block: Any) -> dict[str, Tensor]:
        attention = block.attn
        heads, size = attention.num_heads, attention.head_dim
        kept = self.width // heads
        weight, bias = (part.unflatten(0, (3, heads, size)) for part in self._read(block.norm1, attention.qkv))
        vectors = self.seen.outputs[attention.qkv].unflatten(-1, (3, heads, size))
        out = self.into @ (block.ls1.gamma[:, None] * attention.proj.weight)
        rows: list[list[Tensor]] = [[], [], []]
        columns = []
        for head in range(heads):
            queries, keys, values = (vectors[:, :, part, head] for part in range(3))
            keys = keys - keys.mean(1, keepdim=True)  # what is common to all keys does not change the softmax
            maps = list(reduce_pair(queries.flatten(0, 1), keys.flatten(0, 1), kept))
            maps = [part * (kept / size) ** 0.25 for part in maps]
            own = out[:, head * size : (head + 1) * size]
            value_root, inverse = root(values.flatten(0, 1).T @ values.flatten(0, 1) / values[..., 0].numel())
            top = torch.linalg.svd(own @ value_root)[2][:kept]
            columns.append(own @ value_root @ top.T)
            for part, reduce in enumerate((*maps, top @ inverse)):
                rows[part].append(torch.cat([reduce @ weight[part, head], (reduce @ bias[part, head])[:, None]], 1))
        together = torch.cat([torch.cat(part) for part in rows])
        return {
            "attn.qkv.weight": together[:, :-1],
            "attn.qkv.bias": together[:, -1],
            "attn.proj.weight": torch.cat(columns, 1),
            "attn.proj.bias": self.into @ (block.ls1.gamma * attention.proj.bias),
        }

    def _mlp(self, block: Any) -> dict[str, Tensor]:
        weight, bias = self._read(block.norm2, block.mlp.fc1)
        hidden = self.seen.inputs[block.mlp.fc2].flatten(0, 1)
        out = self.into @ (block.ls2.gamma[:, None] * block.mlp.fc2.weight)
        count = round(hidden.shape[1] * self.width / self.into.shape[1])
        chosen = ((hidden**2).mean(0) * (out**2).sum(0)).topk(count).indices
        known = torch.cat([hidden[:, chosen], torch.ones(len(hidden), 1)], 1)
        gram = known.T @ known
        gram += _RIDGE * gram.diagonal().mean() * torch.eye(count + 1)
        fitted = torch.linalg.solve(
            gram, known.T @ (hidden @ out.T)
        ).T  # the other neurons by these, in the mean square
        return {
            "mlp.fc1.weight": weight[chosen],
            "mlp.fc1.bias": bias[chosen],
            "mlp.fc2.weight": fitted[:, :-1],
            "mlp.fc2.bias": fitted[:, -1] + self.into @ (block.ls2.gamma * block.mlp.fc2.bias),
        }
