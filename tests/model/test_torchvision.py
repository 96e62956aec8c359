"""Each in a process of its own: what is imported there stays."""

import subprocess
import sys

import pytest

ONE_ROUND = """
import sys
from fedra_ray import compose, run_local

loaded = []
config = compose("dataset=glyphs", "rounds=1", "training.max_steps=1", "fleet.num_clients=2")
run_local(config, lambda report: loaded.append("torch._dynamo" in sys.modules))
assert loaded == [False]
"""
OTHER_NAMES = """
import sys
from fedra_ray.model import _torchvision
assert "torch._dynamo" not in sys.modules
with _torchvision._without_compiler():
    import torch._dynamo.config
    assert not hasattr(sys.modules["torch._dynamo"], "__file__")
    from torch._dynamo import graph_break
    assert sys.modules["torch._dynamo"].__file__
assert sys.modules["torch._dynamo"].graph_break is graph_break
"""
LATER = """
import torch
from fedra_ray.model import _torchvision
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") is torch._dynamo.utils.is_compile_supported("cpu")
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2, 2]
assert _torchvision.timm.create_model("vit_tiny_patch16_224", depth=1)
"""


@pytest.mark.parametrize("code", [ONE_ROUND, OTHER_NAMES, LATER], ids=["unused", "other names", "used later"])
def test_torchs_compiler_is_loaded_when_it_is_used(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)
