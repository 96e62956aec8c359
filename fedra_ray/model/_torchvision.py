"""Import timm beside a CPU-only torch, and without torch's compiler.

timm imports torchvision. The torchvision wheel of the Python package index is linked against CUDA; next to a CPU
build of torch its C++ operators cannot be loaded, and torchvision then fails on import because it describes the
operators `nms` and `qnms` before asking whether they exist. Nothing here calls them, so their declaration is enough.

Both load torch's compiler (torch._dynamo: a second of processor time, and 65 MB in every process) for the sake of one
model that is told not to be compiled and one operator that asks what may be. While they are imported, a stand-in
answers them; whoever compiles afterwards gets the compiler.

Import this module before timm and before what imports torchvision.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"


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


def _may_compile(device: str) -> bool:
    supported: bool = importlib.import_module(f"{_COMPILER}.utils").is_compile_supported(device)
    return supported


def _as_it_is(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
    return function


class _StandIn(ModuleType):
    """Has some names of a module; whoever asks for another gets the module's, which is loaded then."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _dismiss()
        return getattr(importlib.import_module(self.__name__), name)


def _dismiss() -> None:
    for name in (_COMPILER, f"{_COMPILER}.utils"):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Answer for torch's compiler, unless it is loaded already."""
    if _COMPILER not in sys.modules:
        compiler, utils = (sys.modules.setdefault(name, _StandIn(name)) for name in (_COMPILER, f"{_COMPILER}.utils"))
        vars(compiler).update(disable=_as_it_is, utils=utils, __path__=[str(Path(torch.__path__[0]) / "_dynamo")])
        vars(utils).update(is_compile_supported=_may_compile)
    try:
        yield
    finally:
        _dismiss()


if not _operators_load():
    _declarations = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _declarations.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

with _without_compiler():
    import timm  # noqa: F401
