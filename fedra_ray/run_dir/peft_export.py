"""The global adapter in the on-disk format of PEFT."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from fedra_ray.config.schema import LoraConfig
from fedra_ray.federation.layout import Layout
from fedra_ray.run_dir.folder import Folder

Vector = NDArray[np.float32]


def save_peft(folder: Folder, layout: Layout, values: Vector, lora: LoraConfig, targets: Sequence[str]) -> None:
    """Write an adapter directory that `peft.PeftModel.from_pretrained` loads onto the plain timm model.

    The last head becomes the model's `head`. Further heads (DepthFL's exits) lie beside it in exits.safetensors, and
    what a method trains besides LoRA and heads in extras.safetensors. What is added to weights of the backbone
    themselves is in weights.safetensors.

    Args:
        folder: Where to write.
        layout: Layout of `values`.
        values: The full vector.
        lora: Rank, alpha and dropout.
        targets: Module paths inside a block.
    """
    from fedra_ray.model import _torchvision  # noqa: F401  (must come before peft)

    from peft import LoraConfig as PeftConfig  # isort: skip  (imports transformers: seconds, only when a run ends)

    tensors = layout.tensors(values)
    last = f"heads.{layout.head_names[-1]}."
    files: dict[str, dict[str, Vector]] = {
        "adapter_model.safetensors": {},
        "exits.safetensors": {},
        "extras.safetensors": {},
        "weights.safetensors": {},
    }
    for name, value in tensors.items():
        if name.startswith(last):
            files["adapter_model.safetensors"]["base_model.model.head." + name.removeprefix(last)] = value
        elif name.startswith("heads."):
            files["exits.safetensors"][name.removeprefix("heads.")] = value
        elif name.startswith("extras."):
            files["extras.safetensors"][name.removeprefix("extras.")] = value
        elif name.endswith(".change"):
            files["weights.safetensors"][name.removesuffix(".change")] = value * np.float32(lora.alpha / lora.rank)
        else:
            files["adapter_model.safetensors"][f"base_model.model.{name}.weight"] = value
    for file, content in files.items():
        if content:
            folder.write(file, save({name: np.ascontiguousarray(value) for name, value in content.items()}))
    pattern = rf"blocks\.\d+\.({'|'.join(map(re.escape, targets))})"
    if "patch_embedding" in layout.extra_names:
        pattern += r"|patch_embed\.proj"
    config = PeftConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=pattern,
        modules_to_save=["head"],
        inference_mode=True,
    )
    text = json.dumps(config.to_dict(), default=_plain, indent=2, sort_keys=True)
    folder.write("adapter_config.json", (text + "\n").encode())


def _plain(value: Any) -> Any:
    """Sets have no fixed order; a file that must repeat byte for byte needs one."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
