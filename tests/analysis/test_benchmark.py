"""The benchmarks' own arithmetic, on cases too small to say anything about speed."""

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from analysis.benchmark import opening, plain, rounds, steps
from analysis.benchmark.processes import cpu_seconds, memory_mb
from analysis.benchmark.report import show, take_turns
from fedra_ray.config.schema import BackboneConfig, LoraConfig

COMPILER = shutil.which("c++") and (Path(sysconfig.get_path("include")) / "Python.h").exists()
TINY = steps.Case("tiny", steps.VIT, {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 12}, 16, 4)


def test_both_loops_take_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LORA", replace(steps.LORA, dropout=0.0))
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
    config = BackboneConfig(model=TINY.model, model_args=TINY.arguments)
    torch.manual_seed(1)
    model = plain.sub_model(plain.adapted(config, steps.CLASSES, steps.LORA), [1, 5])
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    torch.manual_seed(1)
    theirs, ours = plain.step(model, images, labels), steps.fused_step(TINY, [1, 5], images, labels)
    first, second = [theirs(), theirs()], [ours(), ours()]
    assert first[0] == pytest.approx(np.log(steps.CLASSES), abs=1e-5)
    assert second[0] == pytest.approx(first[0], abs=1e-5)
    assert second[1] < second[0]
    assert first[1] < first[0]


def test_a_row_has_the_ratio_of_its_times() -> None:
    row = steps.measure(TINY, 3, repeats=1, peak=1e12)
    assert row["times as fast"] == pytest.approx(row["timm + PEFT, fp32, ms"] / row["fedra-ray, ms"])
    assert 0 < row["gemm share"] < 1


@pytest.mark.heavy
@pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler and Python's headers")
def test_compiled_blocks_are_measured_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    row = steps.measure(TINY, 3, repeats=1, peak=1e12, compiled=True)
    assert row["timm + PEFT compiled, fp32, ms"] > 0
    config = BackboneConfig(model=TINY.model, model_args=TINY.arguments)
    model = plain.sub_model(plain.adapted(config, 5, LoraConfig(dropout=0.0)), [2, 7])
    images = torch.randn(4, 3, 16, 16)
    eager = model(images)
    counters["stats"].clear()
    torch.testing.assert_close(plain.compiled(model)(images), eager, rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] >= 1


def test_every_matrix_product_is_counted_in_place_or_not() -> None:
    left, right, total = torch.randn(6, 5), torch.randn(5, 4), torch.zeros(6, 4)
    product = 2 * 6 * 5 * 4
    assert steps.flops(lambda: left @ right) == product
    assert steps.flops(lambda: total.addmm_(left, right)) == product
    assert steps.flops(lambda: (total.addmm_(left, right), torch.addmm(total, left, right))) == 2 * product


def test_a_sub_model_is_a_copy_of_the_chosen_blocks() -> None:
    config = BackboneConfig(model=TINY.model, model_args=TINY.arguments)
    model = plain.adapted(config, 5, LoraConfig())
    part = plain.sub_model(model, [2, 7])
    assert len(part.blocks) == 2
    assert len(model.blocks) == 12
    assert torch.equal(part.blocks[1].mlp.fc1.weight, model.blocks[7].mlp.fc1.weight)
    assert part.blocks[1].mlp.fc1.weight.data_ptr() != model.blocks[7].mlp.fc1.weight.data_ptr()


def test_the_rivals_average_over_holders() -> None:
    model = nn.Module()
    model.blocks = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    before = model.blocks[1].weight.item()
    updates = [{0: {"weight": torch.tensor([[value]]), "bias": torch.tensor([9.0])}} for value in (1.0, 4.0)]
    rounds.average(model, updates, "weight")
    assert model.blocks[0].weight.item() == 2.5
    assert model.blocks[0].bias.item() != 9
    assert model.blocks[1].weight.item() == before


def test_turns_are_taken_and_the_first_does_not_count() -> None:
    order: list[str] = []
    times = take_turns([lambda: order.append("a"), lambda: order.append("b")], 2)
    assert order == ["a", "b"] * 3
    assert all(seconds >= 0 for seconds in times)


def test_opening_and_reading_are_compared_with_the_columns_alone(tmp_path: Path) -> None:
    opened = opening.opening(tmp_path, 400, 20, repeats=1)
    assert opened["times as long"] == pytest.approx(opened["open, s"] / opened["columns, s"])
    read = opening.reading(tmp_path, 200, 50, repeats=1)
    assert read["images/s"] == pytest.approx(30 / read["pass, s"])  # of 50, less shares of 5 of each class


def test_numbers_are_written_with_date_and_machine(tmp_path: Path) -> None:
    show("title", [{"what": "x", "seconds": 0.5}], tmp_path / "new" / "table.parquet")
    (row,) = pq.read_table(tmp_path / "new" / "table.parquet").to_pylist()
    assert (row["what"], row["seconds"]) == ("x", 0.5)
    assert row["date"][:2] == "20"
    assert "torch" in row["machine"]
    assert 0 <= row["stolen"] <= 1


def test_the_tree_counts_what_its_children_take() -> None:
    before = cpu_seconds()
    script = "import time\nx = bytearray(10**8)\nprint(flush=True)\nwhile time.process_time() < 0.5: pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert memory_mb() > 100
        child.communicate(b"\n")
    assert cpu_seconds() - before > 0.4
