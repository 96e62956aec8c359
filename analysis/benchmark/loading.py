"""How fast images come from raw files, prepared shards and the caches, against how fast one core trains on them.

    python -m analysis.benchmark.loading

Writes artificial photographs of about DomainNet's size as JPEG files, prepares them, and reads random batches on one
core. Every repeat measures each source once, so that a busy moment of the machine falls on all of them.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from fedra_ray.config.paths import filesystem
from fedra_ray.config.schema import BackboneConfig, DatasetConfig, LoraConfig
from fedra_ray.data.dataset import open_dataset
from fedra_ray.data.prepare.progress import begin, finish, plan
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.prepare.writing import write_shard
from fedra_ray.data.source import ImageSource
from fedra_ray.model.backbone import build, find_targets
from fedra_ray.model.submodel import SubModel

SIZE = 224
KEY = ("photos", "train")


def write_photos(folder: Path, count: int) -> None:
    """JPEG files of 640 x 480 pixels: smooth shapes and fine texture, about 120 kB each."""
    rng = np.random.default_rng(0)
    places = [folder / "photos" / name for name in ("even", "odd")]  # of one class a data set is refused
    for place in places:
        place.mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse = coarse.resize((640, 480), Image.Resampling.BICUBIC)
        texture = rng.normal(0, 12, (480, 640, 1))
        pixels = (np.asarray(coarse) + texture).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(places[number % 2] / f"{number:05}.jpg", quality=90)


def prepare(raw: DatasetConfig, out: Path, form: str) -> DatasetConfig:
    """The same images as shards of `form`."""
    config = PrepareConfig(raw, str(out), SIZE, form)
    dataset = open_dataset(raw, SIZE)
    shards = plan(config, dataset)
    system, path = filesystem("out", config.out)
    begin(config, shards, system, path)
    for shard in shards:
        write_shard(config, dataset, shard, system, path)
    finish(config, dataset, shards, system, path)
    return DatasetConfig("shards", root=config.out)


def reader(config: DatasetConfig) -> Callable[[NDArray[np.int64]], object]:
    """A function that fetches the images at these indices as training does."""
    source = ImageSource(open_dataset(config, SIZE), config, SIZE)
    return lambda indices: source.fetch(KEY, indices)


def sources(folder: Path, count: int) -> dict[str, Callable[[NDArray[np.int64]], object]]:
    """Name and reader of every source; the caches are filled."""
    write_photos(folder / "raw", count)
    options = {"test": 0.0, "validation": 0.0}
    target = "fedra_ray.data.domain_folder.DomainFolder"
    raw = DatasetConfig("photos", target, str(folder / "raw"), options, memory_mb=0)
    readers = {"raw JPEG files, 640 x 480": reader(raw)}
    for form in ("jpeg", "png"):
        shards = prepare(raw, folder / form, form)
        shards.memory_mb = 0
        readers[f"prepared shards, {form}, 224 x 224"] = reader(shards)
    node = DatasetConfig("photos", target, raw.root, options, cache=str(folder / "cache"))
    memory = DatasetConfig("photos", target, raw.root, options, memory_mb=10**6)
    for name, config in (("the node's cache", node), ("the actor's memory", memory)):
        readers[name] = reader(config)
        readers[name](np.arange(count))
    return readers


def training_rate(depth: int, batch: int) -> float:
    """Images per second of a local training step of ViT-B/16's first blocks, random weights, one thread."""
    backbone = build(BackboneConfig("vit_b16", "vit_base_patch16_224"))
    model = SubModel(backbone, find_targets(backbone, None), LoraConfig(dropout=0.1), ("head",), 100)
    model.load(model.layout.initial(0), model.layout.held(range(depth), ("head",)))
    model.train()
    images = torch.randn(batch, 3, SIZE, SIZE)
    labels = torch.zeros(batch, dtype=torch.long)
    optimiser = torch.optim.SGD([p for group in model.trained() for p in group], lr=0.01, momentum=0.9)
    start = time.perf_counter()
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(model.logits(images, range(depth)), labels).backward()
    optimiser.step()
    return batch / (time.perf_counter() - start)


def main() -> None:
    """Measure, print a table and write it as Parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/loading.parquet"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        readers = sources(Path(folder), arguments.images)
        rates: dict[str, list[float]] = {name: [] for name in readers}
        training: dict[str, list[float]] = {f"training, ViT-B/16, {depth} blocks": [] for depth in (3, 12)}
        for _ in range(arguments.repeats):
            for name, read in readers.items():
                batch = rng.permutation(arguments.images)[: arguments.batch]
                start = time.perf_counter()
                read(batch)
                rates[name].append(len(batch) / (time.perf_counter() - start))
            for measured, depth in zip(training.values(), (3, 12), strict=True):
                measured.append(training_rate(depth, 8))
    show(rates, training, arguments.out)


def show(rates: dict[str, list[float]], training: dict[str, list[float]], out: Path) -> None:
    """Print and write medians, and each source's share of training time: below 1, loading a batch ahead hides it."""
    fastest = statistics.median(training[max(training, key=lambda name: statistics.median(training[name]))])
    table = Table("source", title="Images per second on one core, medians")
    table.add_column("images/s", justify="right")
    table.add_column("share of training at 3 blocks", justify="right")
    rows = []
    for name, measured in (rates | training).items():
        rate = statistics.median(measured)
        share = fastest / rate if name in rates else None
        table.add_row(name, f"{rate:.0f}" if rate > 20 else f"{rate:.1f}", "" if share is None else f"{share:.1%}")
        rows.append({"source": name, "images_per_second": rate, "share_of_training": share})
    Console().print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), out)


if __name__ == "__main__":
    main()
