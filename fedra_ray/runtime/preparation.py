"""Preparing a data set as Ray tasks, one per shard."""

import dataclasses
import json
import time
from functools import lru_cache
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.paths import filesystem
from fedra_ray.config.schema import DatasetConfig, RuntimeConfig
from fedra_ray.data.dataset import Dataset, in_numbers, open_dataset
from fedra_ray.data.prepare.manifest import read_manifest
from fedra_ray.data.prepare.progress import PreparedShard, begin, finish, is_done, plan
from fedra_ray.data.prepare.settings import PrepareConfig, check
from fedra_ray.data.prepare.writing import write_shard
from fedra_ray.runtime.connection import connected
from fedra_ray.runtime.waiting import Patience, Stall

_LOOK_SECONDS = 2.0  # between looks at the cluster while no shard is finished


def prepare_dataset(config: PrepareConfig) -> dict[str, Any]:
    """Write the shards that are missing, then the manifest, and return it.

    Raises:
        SettingError: for a setting that cannot work, before any task starts.
        ImageError: for an image that cannot be read, unless dataset.on_error=skip.
    """
    check(config)
    console = Console(highlight=False, soft_wrap=True)
    dataset = open_dataset(config.dataset, config.image_size)
    console.print(f"{config.dataset.name}: {in_numbers(dataset)}", markup=False)
    for note in dataset.notes:
        console.print(f"{config.dataset.name}: {note}", markup=False)
    system, path = filesystem("out", config.out)
    shards = plan(config, dataset)
    if begin(config, shards, system, path):
        console.print(f"{config.out} is already prepared", markup=False)
        return read_manifest(system, path)
    missing = [shard for shard in shards if not is_done(shard, system, path)]
    if len(missing) < len(shards):
        console.print(f"{len(shards) - len(missing)} of {len(shards)} shards are already there")
    with connected(RuntimeConfig(address=config.address), slots=0):
        _write_all(config, missing, console)
    manifest = finish(config, dataset, shards, system, path)
    skipped = f", {len(manifest['skipped'])} left out" if manifest["skipped"] else ""
    console.print(
        f"{manifest['images']} images in {len(manifest['shards'])} shards{skipped}: {config.out}", markup=False
    )
    return manifest


def _write_all(config: PrepareConfig, shards: list[PreparedShard], console: Console) -> None:
    write: Any = ray.remote(num_cpus=1)(_write_one)
    waiting = {write.remote(config, shard): shard for shard in shards}
    columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    total = sum(shard.stop - shard.start for shard in shards)
    patience = Patience(config.wait_s, lambda text: console.print(text, markup=False), "wait_s")
    start = time.monotonic()
    images = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=total)
        while waiting:
            done = _next_ended(list(waiting), patience)
            shard = waiting.pop(done)
            try:
                ray.get(done)
            except RayError as error:
                cause = error.cause if isinstance(error, RayTaskError) else error
                if isinstance(cause, RunFailedError):
                    raise cause from error
                raise RunFailedError(f"{shard.file} cannot be written: {cause}") from error
            images += shard.stop - shard.start
            progress.update(bar, completed=images)
            if not console.is_terminal:
                rate = images / (time.monotonic() - start)
                console.print(f"prepared {images}/{total} images  {rate:.0f} images/s  {shard.file}", markup=False)


def _next_ended(references: list[ray.ObjectRef], patience: Patience) -> ray.ObjectRef:
    """A task that has ended, once there is one; time counts as waiting while no node could run any."""
    possible = time.monotonic()
    while True:
        ended, _ = ray.wait(references, num_returns=1, timeout=_LOOK_SECONDS)
        if ended:
            return ended[0]
        if any(node["Alive"] and node["Resources"].get("CPU", 0) >= 1 for node in ray.nodes()):
            possible = time.monotonic()
        else:
            patience.look([Stall(time.monotonic() - possible, "tasks with 1 CPU each, which write the shards")])


def _write_one(config: PrepareConfig, shard: PreparedShard) -> int:
    system, path = filesystem("out", config.out)
    dataset = _opened(json.dumps(dataclasses.asdict(config.dataset)), config.image_size)
    return write_shard(config, dataset, shard, system, path)


@lru_cache(maxsize=1)
def _opened(settings: str, image_size: int) -> Dataset:
    """The data set, listed once per worker process; its settings are text, because keys of a cache must be hashable."""
    return open_dataset(DatasetConfig(**json.loads(settings)), image_size)
