"""How long a client's local step takes, against timm and PEFT's eager loop, on one thread.

    python -m analysis.benchmark.steps [--compiled]

A step is forward, backward and optimiser, with LoRA dropout 0.1. The two loops take turns. `gemm share` is the part of
the processor's peak, measured on a large matrix product of the same precision, that the step reaches on the products
it cannot do without: the rest goes to attention, GELU, LayerNorm, dropout, and to reading and writing activations.
With `--compiled`, timm and PEFT's loop is also measured with every block under torch.compile, which needs a compiler.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from analysis.benchmark import plain
from analysis.benchmark.report import parser, show, take_turns
from fedra_ray.config.schema import BackboneConfig, LoraConfig
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.model.submodel import SubModel

LORA = LoraConfig(rank=8, alpha=8.0, dropout=0.1)
CLASSES = 40
VIT = "vit_tiny_patch16_224"
SMALL = {"img_size": 64, "patch_size": 8}
GLYPH = {"img_size": 32, "patch_size": 8, "embed_dim": 96}
MIXER = "timm.models.MlpMixer"


@dataclass(frozen=True)
class Case:
    """A model, the pixels and number of its images, and the sub-models' depths."""

    name: str
    model: str
    arguments: dict[str, Any]
    pixels: int
    batch_size: int
    dtype: torch.dtype = torch.float32
    depths: Sequence[int] = field(default=(3, 6, 12))


HALF = torch.bfloat16
CASES = [
    Case("ViT-Tiny", VIT, SMALL, 64, 64),
    Case("ViT-Tiny", VIT, {}, 224, 16),
    Case("ViT-Tiny, average pooling", VIT, SMALL | {"global_pool": "avg"}, 64, 64),
    Case("Mixer of ViT-Tiny's width", MIXER, SMALL | {"embed_dim": 192, "num_blocks": 12}, 64, 64),
    Case("glyph_vit", VIT, GLYPH | {"num_heads": 3}, 32, 64),
    Case("glyph_mixer", MIXER, GLYPH | {"num_blocks": 12}, 32, 64),
    Case("ViT-Tiny", VIT, SMALL, 64, 64, HALF),
    Case("ViT-Tiny", VIT, {}, 224, 16, HALF),
    Case("ViT-B/16", "vit_base_patch16_224", {}, 224, 8, HALF, (3, 12)),
]


def fused_step(case: Case, layers: Sequence[int], images: torch.Tensor, labels: torch.Tensor) -> plain.Step:
    """A function that takes this project's step."""
    backbone = build(BackboneConfig(model=case.model, model_args=case.arguments)).to(case.dtype)
    model = SubModel(backbone, find_targets(backbone, None), LORA, ("head",), CLASSES)
    model.load(model.layout.initial(0), model.layout.held(layers, ("head",)))
    model.train()
    trained = [parameter for group in model.trained() for parameter in group]
    optimiser = torch.optim.SGD(trained, lr=0.01, momentum=0.9, weight_decay=1e-5)

    def take() -> float:
        optimiser.zero_grad(set_to_none=False)
        loss = functional.cross_entropy(model.logits(images, layers), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return take


def measure(case: Case, depth: int, repeats: int, peak: float, compiled: bool = False) -> dict[str, Any]:
    """A row of the table: medians in milliseconds."""
    layers = torch.linspace(0, 11, depth).round().int().tolist()
    images = torch.randn(case.batch_size, 3, case.pixels, case.pixels)
    labels = torch.randint(0, CLASSES, (case.batch_size,))
    whole = plain.adapted(BackboneConfig(model=case.model, model_args=case.arguments), CLASSES, LORA)
    theirs = plain.step(plain.sub_model(whole, layers), images, labels)
    ours = fused_step(case, layers, images, labels)
    steps = [theirs, ours]
    if compiled:
        steps.append(plain.step(plain.compiled(plain.sub_model(whole, layers)), images, labels))
    del whole
    needed = flops(ours)
    times = take_turns(steps, repeats)
    row = {
        "model": case.name,
        "pixels": case.pixels,
        "precision": "bf16" if case.dtype == HALF else "fp32",
        "blocks": depth,
        "timm + PEFT, fp32, ms": 1e3 * times[0],
        "fedra-ray, ms": 1e3 * times[1],
        "times as fast": times[0] / times[1],
        "gemm share": needed / times[1] / peak,
    }
    if compiled:
        row["timm + PEFT compiled, fp32, ms"] = 1e3 * times[2]
    return row


def flops(function: Callable[[], object]) -> int:
    """FLOPs of the matrix products and convolutions that a function computes, without those of attention."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _added_product}) as counter:
        function()
    return counter.get_total_flops()


def _added_product(_: torch.Size, left: torch.Size, right: torch.Size, **__: Any) -> int:
    """FLOPs of an addmm_, for which torch's counter has no formula, from the matrices' shapes."""
    return 2 * left.numel() * right[1]


def gemm_peak(dtype: torch.dtype, repeats: int) -> float:
    """FLOPs per second of a product of 2048 x 2048 matrices."""
    matrix = torch.randn(2048, 2048).to(dtype)
    (seconds,) = take_turns([lambda: matrix @ matrix], repeats)
    return 2 * 2048**3 / seconds


def main() -> None:
    """Measure, print and write."""
    arguments = parser(__doc__, "steps")
    arguments.add_argument("--only", default="", help="cases whose name has this in it")
    arguments.add_argument("--compiled", action="store_true", help="measure torch.compile too")
    settings = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for case in CASES:
        if settings.only in case.name:
            peak = gemm_peak(case.dtype, settings.repeats)
            rows += [measure(case, depth, settings.repeats, peak, settings.compiled) for depth in case.depths]
    show("A local step", rows, settings.out)


if __name__ == "__main__":
    main()
