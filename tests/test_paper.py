"""Every experiment of the paper for a round, on miniature trees in the data sets' layout and small backbones."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow.fs import LocalFileSystem
from safetensors.torch import save_file
from support import DOMAINNET, running, write_domainnet, write_nicopp

from fedra_ray.cli.compose import compose_named
from fedra_ray.client.host import ClientHost
from fedra_ray.config.paths import conf_dir
from fedra_ray.config.schema import BackboneConfig, DatasetConfig, ExperimentConfig
from fedra_ray.data.dataset import open_dataset
from fedra_ray.data.prepare.progress import begin, plan
from fedra_ray.data.prepare.progress import finish as finish_preparation
from fedra_ray.data.prepare.settings import PrepareConfig
from fedra_ray.data.prepare.writing import write_shard
from fedra_ray.experiment import run
from fedra_ray.federation.reports import Outcome
from fedra_ray.model.backbone import build
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment" / "paper").glob("*.yaml") if path.stem != "base")
#: Twelve blocks, as the paper's backbones have, and little else.
SMALL = {
    "vit": BackboneConfig(
        model="vit_tiny_patch16_224", model_args={"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_heads": 2}
    ),
    "mixer": BackboneConfig(
        model="timm.models.mlp_mixer.MlpMixer",
        model_args={"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_blocks": 12},
    ),
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with domainnet, nicopp, and the small backbones' random weights."""
    folder = tmp_path_factory.mktemp("trees")
    write_domainnet(folder / "domainnet", damage=("truncated", "missing"))
    write_nicopp(folder / "nicopp")
    for name, config in SMALL.items():
        save_file(build(config).state_dict(), folder / f"{name}.safetensors")
    return folder


def composed(trees: Path, name: str, *overrides: str, paper: str = "paper") -> ExperimentConfig:
    """The experiment on the miniature tree and the small backbone of its kind."""
    config = compose_named("config", ExperimentConfig, [f"experiment={paper}/{name}", "rounds=1", *overrides])
    config.dataset.root, config.dataset.on_error = str(trees / config.dataset.name), "skip"
    kind = config.backbone.name.removesuffix("_b16")
    config.backbone.model, config.backbone.model_args = SMALL[kind].model, SMALL[kind].model_args
    config.backbone.checkpoint = str(trees / f"{kind}.safetensors")
    config.backbone.mean, config.backbone.std = [0.5] * 3, [0.5] * 3
    return config


def finish(config: ExperimentConfig, folder: Path) -> tuple[Outcome, np.ndarray]:
    """The outcome of a run in this process, and the adapter that it began with."""
    blueprint, weights = check_experiment(config)
    *_, outcome = run(blueprint, ClientHost(blueprint, weights), Journal(Folder(folder), config))
    assert isinstance(outcome, Outcome)
    return outcome, blueprint.layout.initial(config.seed)


def check_round(config: ExperimentConfig, folder: Path) -> None:
    outcome, before = finish(config, folder)
    assert np.isfinite(outcome.values).all()
    assert outcome.values.tobytes() != before.tobytes()
    assert [(score.examples, 0 <= score.top1 <= 9) for score in outcome.scores] == [(9, True)] * 6
    clients = pq.read_table(folder / "clients.parquet").to_pylist()
    assert len({row["domain"] for row in clients}) == len(clients) == 6
    whole = config.method.name == "partial"
    assert all(len(row["layers"]) == (12 if whole else row["depth"]) for row in clients)
    assert {row["steps"] for row in clients} == {1}
    # one in the class folder's first images is truncated, one is missing; a client of another part may not have them
    skipped = pq.read_table(folder / "skipped.parquet")["image"].to_pylist()
    assert all("clipart" in name for name in skipped)
    if config.partition.name == "feature_skew":
        assert len(skipped) == (2 if config.dataset.name == "domainnet" else 0)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_a_round(name: str, trees: Path, tmp_path: Path) -> None:
    config = composed(trees, name)
    check_round(config, tmp_path)
    clients = pq.read_table(tmp_path / "clients.parquet").to_pylist()
    if config.fleet.dynamic:
        assert {row["depth"] for row in clients} <= set(config.fleet.depths)
    else:
        assert [row["depth"] for row in sorted(clients, key=lambda row: row["domain"])] == config.fleet.depths


@pytest.mark.parametrize(("name", "backbone"), [("extreme6", "vit"), ("extreme4", "mixer"), ("heterogeneous", "vit")])
def test_fedbrick_s_experiments_run_a_round_of_two_stages(
    name: str, backbone: str, trees: Path, tmp_path: Path
) -> None:
    config = composed(trees, name, f"backbone={backbone}_b16", paper="fedbrick")
    outcome, before = finish(config, tmp_path)
    assert np.isfinite(outcome.values).all()
    assert outcome.values.tobytes() != before.tobytes()
    assert {row["steps"] for row in pq.read_table(tmp_path / "clients.parquet").to_pylist()} == {2}
    assert config.method.options["proxy"] == 0.05


@pytest.mark.parametrize("method", ["fedra", "inclusivefl", "depthfl"])
@pytest.mark.parametrize("backbone", ["vit", "mixer"])
def test_the_authors_oddities_run_a_round(method: str, backbone: str, trees: Path, tmp_path: Path) -> None:
    config = composed(trees, f"domainnet_{backbone}_feature_skew", "compat=authors", f"method={method}")
    outcome, before = finish(config, tmp_path)
    assert outcome.values.tobytes() != before.tobytes()


@pytest.mark.parametrize("method", ["alllarge", "allsmall", "exclusive", "headonly", "inclusivefl", "depthfl"])
def test_every_method_runs_a_round(method: str, trees: Path, tmp_path: Path) -> None:
    outcome, before = finish(composed(trees, "nicopp_vit_feature_label_skew", f"method={method}"), tmp_path)
    assert outcome.values.tobytes() != before.tobytes()


def test_prepared_shards_give_the_bits_of_the_original_files(trees: Path, tmp_path: Path) -> None:
    config = composed(trees, "nicopp_vit_feature_label_skew", "rounds=2")
    original, _ = finish(config, tmp_path / "original")
    preparation = PrepareConfig(config.dataset, str(tmp_path / "shards"), 16, "png", shard_images=5)
    dataset, system = open_dataset(config.dataset, 16), LocalFileSystem()
    shards = plan(preparation, dataset)
    begin(preparation, shards, system, preparation.out)
    for shard in reversed(shards):
        write_shard(preparation, dataset, shard, system, preparation.out)
    finish_preparation(preparation, dataset, shards, system, preparation.out)
    config.dataset = DatasetConfig("parquet", root=preparation.out)
    prepared, _ = finish(config, tmp_path / "prepared")
    assert prepared.values.tobytes() == original.values.tobytes()
    assert prepared.scores == original.scores


def write_photographs(root: Path) -> None:
    """DomainNet's layout with two training images, one per class, and a test image of 640 x 480 pixels per domain."""
    rng = np.random.default_rng(0)
    (root / "splits").mkdir(parents=True)
    for domain in DOMAINNET:
        paths = [f"{domain}/{name}/{number}.jpg" for number, name in enumerate(("bicycle", "bird", "bicycle"))]
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(root / path)
        (root / "splits" / f"{domain}_train.txt").write_text(
            "".join(f"{path} {label}\n" for label, path in enumerate(paths[:2]))
        )
        (root / "splits" / f"{domain}_test.txt").write_text(f"{paths[2]} 0\n")


def peak_memory(command: list[str], folder: Path) -> float:
    """Gigabytes (10^9) that a command and all processes below it use at most, shared memory counted once."""
    most = 0
    with running(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            used = 0
            for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                try:
                    used += each.memory_full_info().pss
                except psutil.Error:  # it has ended in between
                    continue
            most = max(most, used)
            time.sleep(0.2)
        assert process.returncode == 0, process.stderr.read()
    return most / 1e9


@pytest.mark.heavy
@pytest.mark.parametrize("backbone", ["vit", "mixer"])
def test_a_full_size_round_fits_eight_gigabytes(backbone: str, tmp_path: Path) -> None:
    write_photographs(tmp_path / "domainnet")
    model = {"vit": "vit_base_patch16_224.augreg2_in21k_ft_in1k", "mixer": "mixer_b16_224.goog_in21k_ft_in1k"}[backbone]
    save_file(build(BackboneConfig(model=model)).state_dict(), tmp_path / "random.safetensors")
    settings = [
        f"experiment=paper/domainnet_{backbone}_feature_skew",
        f"dataset.root={tmp_path / 'domainnet'}",
        f"backbone.checkpoint={tmp_path / 'random.safetensors'}",
        f"run_dir={tmp_path / 'run'}",
        "rounds=1",
        "runtime.address=local",
        "runtime.max_actors=1",
    ]
    assert peak_memory([sys.executable, "-m", "fedra_ray", *settings], tmp_path) < 8
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(summary["accuracy"]) == set(DOMAINNET)
    clients = pq.read_table(tmp_path / "run" / "clients.parquet").to_pylist()
    per_block = {"vit": 43_008, "mixer": 35_360}[backbone]
    head = 768 * 2 + 2
    assert [row["bytes_up"] for row in clients] == [4 * (depth * per_block + head) for depth in (12, 10, 8, 6, 4, 3)]
    assert all(math.isfinite(row["loss"]) for row in clients)
