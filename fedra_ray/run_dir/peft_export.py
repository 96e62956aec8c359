"""The global adapter in the on-disk format of PEFT."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedra_ray.config.schema import LoraConfig
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.run_dir.folder import Folder

Vector = NDArray[np.float32]
ADAPTER = "adapter_model.safetensors"
TIMM_BLOCKS = "blocks"  # what timm's models, and ours, call their blocks


def load_library() -> Any:
    """PEFT, which imports transformers: seconds, only when a run ends."""
    from fedra_ray.model import _torchvision  # noqa: F401  (must come before peft)
    from fedra_ray.model.quantized import hush

    hush()  # peft imports it, if it is there
    import peft  # isort: skip

    return peft


def save_peft(
    folder: Folder,
    layout: Layout,
    values: Vector,
    lora: LoraConfig,
    targets: Sequence[str],
    blocks: str = TIMM_BLOCKS,
    task: str | None = None,
) -> None:
    """Write an adapter directory that `peft.PeftModel.from_pretrained` loads onto the plain model.

    The last head becomes the `head` of timm's model; of a language model, which has none, PEFT passes it over. Further
    heads (DepthFL's exits) lie beside it in exits.safetensors, and what a method trains besides LoRA and heads in
    extras.safetensors. What is added, alpha / rank times, to weights of the backbone themselves is in
    weights.safetensors.

    The last ranks of a target, where both factors are zero because no client has had so many (`lora.ranks`, LEGEND's
    ranks by layer), are left out: its rank stands in `rank_pattern`, and in `alpha_pattern` what keeps its scale.

    Args:
        folder: Where to write.
        layout: Layout of `values`.
        values: The full vector.
        lora: Rank, alpha and dropout.
        targets: Module paths inside a block.
        blocks: Path of the blocks in the plain model: `blocks` in timm's.
        task: PEFT's name of what the model is for; None if it has no head.
    """
    files: dict[str, dict[str, Vector]] = {}
    tensors = layout.tensors(values)
    ranks = _ranks(layout, tensors)
    for name, value in tensors.items():
        file, stored = place(name, layout.head_names, blocks)
        files.setdefault(file, {})[stored] = np.ascontiguousarray(_needed(name, value, ranks))
    for file, content in files.items():
        folder.write(file, save(content))
    pattern = rf"{re.escape(blocks)}\.\d+\.({'|'.join(map(re.escape, targets))})"
    if "patch_embedding" in layout.extra_names:
        pattern += r"|patch_embed\.proj"
    fewer = {re.escape(_inside(target, blocks)): rank for target, rank in ranks.items() if rank < lora.rank}
    config = load_library().LoraConfig(
        rank_pattern=fewer,
        alpha_pattern={target: lora.alpha * rank / lora.rank for target, rank in fewer.items()},
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=pattern,
        modules_to_save=["head"] if blocks == TIMM_BLOCKS else None,
        inference_mode=True,
        task_type=task,
    )
    text = json.dumps(config.to_dict(), default=_plain, indent=2, sort_keys=True)
    folder.write("adapter_config.json", (text + "\n").encode())


def read_peft(folder: Folder, layout: Layout, blocks: str = TIMM_BLOCKS) -> Vector:
    """The full vector that `save_peft` has written.

    Args:
        folder: The adapter directory.
        layout: Layout of the vector.
        blocks: Path of the blocks in the plain model.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if a tensor is missing, or has another shape or type than the layout's.
    """
    files: dict[str, dict[str, Vector]] = {}
    factors = set(chain.from_iterable(layout.layers))
    parts = []
    for entry in chain.from_iterable(layout.entries):
        file, stored = place(entry.name, layout.head_names, blocks)
        if file not in files:
            files[file] = _read_tensors(folder, file)
        value = files[file].get(stored)
        if value is not None and entry in factors:
            value = _all_ranks(value, entry)
        if value is None or value.shape != entry.shape or value.dtype != np.float32:
            raise ValueError(f"{file} has no {stored} of {entry.shape} float32 values")
        parts.append(value.ravel())
    return np.concatenate(parts)


def _ranks(layout: Layout, tensors: Mapping[str, Vector]) -> dict[str, int]:
    """How many ranks of every target of a layer are needed, at least 1, by the target's name in the model."""
    ranks = {}
    for a, b in (pair for layer in layout.layers for pair in zip(layer[::2], layer[1::2], strict=True)):
        used = np.flatnonzero(tensors[a.name].any(axis=1) | tensors[b.name].any(axis=0))
        ranks[a.name.removesuffix(".lora_A")] = int(used[-1]) + 1 if len(used) else 1
    return ranks


def _needed(name: str, value: Vector, ranks: Mapping[str, int]) -> Vector:
    """The first rows of a layer's factor A, or the first columns of its B; any other tensor as it is."""
    target, _, factor = name.rpartition(".")
    rank = ranks.get(target)
    return value if rank is None else {"lora_A": value[:rank], "lora_B": value[:, :rank]}.get(factor, value)


def _all_ranks(value: Vector, entry: Entry) -> Vector:
    """A factor with zeros for the ranks that were left out, as far as its shape allows that."""
    if value.ndim != len(entry.shape):
        return value
    axis = 0 if entry.name.endswith("lora_A") else 1
    missing = [(0, max(0, entry.shape[axis] - value.shape[axis]) if axis == own else 0) for own in range(value.ndim)]
    return np.pad(value, missing)


def place(name: str, head_names: Sequence[str], blocks: str = TIMM_BLOCKS) -> tuple[str, str]:
    """The file of an adapter directory that holds a tensor, and its name there.

    Args:
        name: Of the tensor in the layout.
        head_names: Names of the heads, the model's own last.
        blocks: Path of the blocks in the plain model.
    """
    last = f"heads.{head_names[-1]}."
    if name.startswith(last):
        return ADAPTER, "base_model.model.head." + name.removeprefix(last)
    if name.startswith("heads."):
        return "exits.safetensors", name.removeprefix("heads.")
    if name.startswith("extras."):
        return "extras.safetensors", name.removeprefix("extras.")
    if name.endswith(".change"):
        return "weights.safetensors", name.removesuffix(".change")
    return ADAPTER, f"base_model.model.{_inside(name, blocks)}.weight"


def _inside(name: str, blocks: str) -> str:
    """The plain model's name of what is called `name` in ours."""
    return f"{blocks}.{name.removeprefix(f'{TIMM_BLOCKS}.')}" if name.startswith(f"{TIMM_BLOCKS}.") else name


def _read_tensors(folder: Folder, file: str) -> dict[str, Vector]:
    content = folder.read(file)
    if content is None:
        raise FileNotFoundError(f"{folder}/{file}")
    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(f"{file}: {error}") from error


def _plain(value: Any) -> Any:
    """Sets have no fixed order; a file that must repeat byte for byte needs one."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
