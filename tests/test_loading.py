"""The model that `fedra_ray.load` gives is the one whose accuracy the run states, whatever the method."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from fedra_ray import SettingError, TunedModel, compose, load, run_local
from fedra_ray.config.errors import ImageError
from fedra_ray.config.paths import conf_dir, resolve
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.methods.fedra import FedRA
from fedra_ray.model.submodel import Inputs, SubModel

METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))


@pytest.fixture(scope="module")
def few_glyphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the embedded images, one in eight."""
    table = pq.read_table(resolve("asset://glyphs.parquet"))
    file = tmp_path_factory.mktemp("glyphs") / "few.parquet"
    pq.write_table(table.take(pa.array(range(0, len(table), 8))), file)
    return file


def accuracy(model: TunedModel, file: Path) -> dict[str, float]:
    """Top-1 accuracy by domain on the test images of a Parquet file, from nothing but the model and the file."""
    rows = [row for row in pq.read_table(file).to_pylist() if row["split"] == "test"]
    images = torch.stack([model.preprocess(row["image"]) for row in rows])
    predicted = [model.classes[index] for index in model(images).argmax(dim=1).tolist()]
    hits: dict[str, list[bool]] = {}
    for row, name in zip(rows, predicted, strict=True):
        hits.setdefault(row["domain"], []).append(row["label_name"] == name)
    return {domain: float(np.mean(values)) for domain, values in hits.items()}


@pytest.mark.parametrize("compat", ["none", "authors"])
@pytest.mark.parametrize("backbone", ["glyph_vit", "glyph_mixer"])
@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_model_has_the_accuracy_of_the_summary(
    method: str, backbone: str, compat: str, few_glyphs: Path, tmp_path: Path
) -> None:
    chosen = [f"method={method}", f"backbone={backbone}", f"compat={compat}"]
    small = ["rounds=1", "training.max_steps=2", "training.batch_size=16", f"dataset.root={few_glyphs}"]
    result = run_local(compose(*chosen, *small, f"run_dir={tmp_path / 'run'}"))
    model = load(tmp_path / "run")
    assert not model.training
    found = accuracy(model, few_glyphs)
    one_image = 1 / 60  # batches of another size may round two nearly equal scores the other way
    assert found == {domain: pytest.approx(value, abs=one_image) for domain, value in result.accuracy.items()}
    described = json.loads((tmp_path / "run" / "adapter" / "model.json").read_text())
    assert described["evaluated_layers"] == result.summary["evaluated_layers"]
    assert tuple(described["classes"]) == model.classes


@pytest.mark.parametrize("aggregation", ["flora", "fedexlora"])
def test_changes_of_the_weights_are_loaded_too(aggregation: str, few_glyphs: Path, tmp_path: Path) -> None:
    chosen = [f"lora_aggregation={aggregation}", "rounds=2", "training.max_steps=8", "training.lr=0.3"]
    result = run_local(compose(*chosen, f"dataset.root={few_glyphs}", f"run_dir={tmp_path / 'run'}"))
    model = load(tmp_path / "run")
    found = accuracy(model, few_glyphs)
    assert found == {domain: pytest.approx(value, abs=1 / 60) for domain, value in result.accuracy.items()}
    changes = load_file(tmp_path / "run" / "adapter" / "weights.safetensors")
    assert any(value.any() for value in changes.values())


@pytest.fixture
def finished(config: ExperimentConfig) -> ExperimentConfig:
    """A run of the miniature world."""
    run_local(config)
    return config


def test_a_model_is_loaded_from_a_uri_and_with_weights_that_have_moved(
    finished: ExperimentConfig, tmp_path: Path, images: torch.Tensor
) -> None:
    expected = load(finished.run_dir)(images)
    assert torch.equal(load(f"file://{finished.run_dir}")(images), expected)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(Path(str(finished.backbone.checkpoint)).read_bytes())
    assert torch.equal(load(finished.run_dir, checkpoint=str(moved))(images), expected)
    with pytest.raises(SettingError, match=r"^backbone.checkpoint=/nowhere: no such file"):
        load(finished.run_dir, checkpoint="/nowhere")


def test_an_image_is_read_from_a_path_or_from_bytes(finished: ExperimentConfig, tmp_path: Path) -> None:
    model, buffer = load(finished.run_dir), io.BytesIO()
    Image.new("RGB", (20, 30), (255, 0, 51)).save(buffer, "PNG")
    (tmp_path / "red.png").write_bytes(buffer.getvalue())
    image = model.preprocess(buffer.getvalue())
    assert image.shape == model.input_size == (3, 16, 16)
    assert image.mean(dim=(1, 2)).tolist() == pytest.approx([1, -1, -0.6])  # (p / 255 - 0.5) / 0.5
    assert torch.equal(model.preprocess(tmp_path / "red.png"), image)
    assert torch.equal(model.preprocess(str(tmp_path / "red.png")), image)
    with pytest.raises(ImageError, match=r"blue\.png: no such file"):
        model.preprocess(tmp_path / "blue.png")


def test_a_folder_without_a_finished_run_is_refused(config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds no finished run"):
        load(tmp_path)


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "model.json"])
def test_a_missing_or_damaged_file_is_named(finished: ExperimentConfig, file: str) -> None:
    path = Path(finished.run_dir) / "adapter" / file
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SettingError, match=r"^RUN_DIR=.*: its adapter.* is damaged, or not that of a run"):
        load(finished.run_dir)
    path.unlink()
    with pytest.raises(SettingError, match=rf"its adapter.* \(FileNotFoundError: .*{file}\)"):
        load(finished.run_dir)


def test_an_adapter_of_another_rank_is_refused(finished: ExperimentConfig) -> None:
    path = Path(finished.run_dir) / "adapter" / "adapter_model.safetensors"
    save_file({name: value[..., :1] for name, value in load_file(path).items()}, path)
    with pytest.raises(SettingError, match=r"has no base_model.model.blocks.0.attn.proj.lora_A.weight of \(8, 16\)"):
        load(finished.run_dir)


def test_simulated_devices_come_back_as_they_were(
    make_config: Callable[[Path], ExperimentConfig], tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run")
    config.fleet.devices = ["laptop", "phone"]
    run_local(dataclasses.replace(config, rounds=1))
    assert load(tmp_path / "run").classes == ("square", "circle", "cross")


class Flipped(FedRA):
    """A method whose prediction no file describes."""

    def predict(self, model: SubModel, inputs: Inputs) -> torch.Tensor:
        return super().predict(model, inputs).flip(1)


def test_a_prediction_of_the_user_s_own_is_made_by_the_loaded_model_and_named_in_the_file(
    config: ExperimentConfig, images: torch.Tensor
) -> None:
    config.method = dataclasses.replace(config.method, target="test_loading.Flipped")
    run_local(config)
    model = load(config.run_dir)
    assert torch.equal(model(images), model.model.logits(images, range(4)).flip(1))
    described = json.loads((Path(config.run_dir) / "adapter" / "model.json").read_text())
    assert described["scores"] == "as test_loading.Flipped.predict makes them"
