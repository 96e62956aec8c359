"""Let timm import beside a CPU-only torch.

timm imports torchvision. The torchvision wheel of the Python package index is linked against CUDA; next to a CPU
build of torch its C++ operators cannot be loaded, and torchvision then fails on import because it describes the
operators `nms` and `qnms` before asking whether they exist. Nothing here calls them, so their declaration is enough.
Import this module before timm.
"""

import importlib.machinery
import importlib.util
from pathlib import Path

import torch


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for suffix in (*importlib.machinery.EXTENSION_SUFFIXES, ".so", ".pyd"):
            library = Path(folder) / f"_C{suffix}"
            if library.exists():
                try:
                    torch.ops.load_library(str(library))
                except OSError:
                    return False
    return True


if not _operators_load():
    _declarations = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _declarations.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
