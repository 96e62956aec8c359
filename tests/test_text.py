"""Federated tuning of language models end to end: the run, its adapter under PEFT, and its plan."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from language_models import folders, write_model, write_tokenizer

from fedra_ray import ExperimentConfig, Result, SettingError, TunedTextModel, compose, load, run_experiment, run_local
from fedra_ray.cost.plan import PlannedExperiment, plan_experiment
from fedra_ray.preflight import check_experiment

import peft  # isort: skip  (fedra_ray lets it import beside a CPU-only torch)
import transformers  # isort: skip

WORDS = ("ab", "cd", "ef")  # of each class a text repeats the letters


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three domains of three classes: 24 training, 6 validation and 12 test texts of 1 to 12 letters in each."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "text": "".join(rng.choice(list(WORDS[label]), rng.integers(1, 13))),
            "label": label,
            "domain": domain,
            "split": split,
        }
        for domain in ("east", "north", "west")
        for split, copies in (("train", 8), ("validation", 2), ("test", 4))
        for label in range(3)
        for _ in range(copies)
    ]
    file = tmp_path_factory.mktemp("texts") / "texts.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """model_of(kind): the folder of a random language model of that family."""
    return folders(tmp_path_factory.mktemp, write_model)


@pytest.fixture
def configured(texts: Path, model_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., ExperimentConfig]:
    """configured(kind, *settings): three clients of depths 5, 3 and 1, two rounds of three steps."""

    def make(kind: str, *settings: str) -> ExperimentConfig:
        small = ["fleet.depths=[5,3,1]", "fleet.num_clients=3", "rounds=2", "training.max_steps=3"]
        data = ["dataset=text_parquet", f"dataset.root={texts}", "backbone=hf", f"backbone.model=hf:{model_of(kind)}"]
        rates = ["training.lr=0.2", "training.head_lr=0.2", "training.batch_size=8", f"run_dir={tmp_path / 'run'}"]
        return compose(*data, *small, *rates, *settings)

    return make


def scores_of(run: Result, texts: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """The test texts, their scores by the loaded model, one after another, and their domains."""
    rows = [row for row in pq.read_table(texts).to_pylist() if row["split"] == "test"]
    model = load(run.run_dir)
    assert isinstance(model, TunedTextModel)
    assert model.classes == ("0", "1", "2")
    with torch.inference_mode():
        scores = torch.cat([model(model.preprocess([row["text"]])) for row in rows])
    hits = scores.argmax(1).numpy() == np.array([row["label"] for row in rows])
    domains = [row["domain"] for row in rows]
    found = {domain: float(hits[np.array(domains) == domain].mean()) for domain in run.accuracy}
    assert found == pytest.approx(run.accuracy)
    return [row["text"] for row in rows], scores.numpy(), domains


@pytest.mark.parametrize("kind", ["bert", "distilbert", "llama", "gpt2"])
def test_peft_loads_the_adapter_onto_the_plain_model_with_the_same_scores(
    kind: str, configured: Callable[..., ExperimentConfig], texts: Path, model_of: Callable[[str], Path]
) -> None:
    run = run_local(configured(kind, "backbone.pooling=mean"))
    given, scores, _ = scores_of(run, texts)
    adapter = f"{run.run_dir}/adapter"
    plain = transformers.AutoModel.from_pretrained(model_of(kind))
    tuned = peft.PeftModel.from_pretrained(plain, adapter).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_of(kind))
    head = {name: torch.from_numpy(run.adapter[f"base_model.model.head.{name}"]) for name in ("weight", "bias")}
    for text, expected in zip(given[::5], scores[::5], strict=True):
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            features = tuned(**inputs).last_hidden_state.mean(1)
        found = torch.nn.functional.linear(features, **head)[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert all(np.any(value) for name, value in run.adapter.items() if "lora_B" in name)


def test_ray_gives_the_same_bits_as_this_process(configured: Callable[..., ExperimentConfig], local_ray: None) -> None:
    config = configured("bert", "+backbone.model_args.hidden_dropout_prob=0.1")
    here = run_local(config)
    there = run_experiment(replace(config, run_dir=f"{config.run_dir}-on-ray"))
    assert there.accuracy == here.accuracy
    assert {name: value.tobytes() for name, value in there.adapter.items()} == {
        name: value.tobytes() for name, value in here.adapter.items()
    }


@pytest.mark.parametrize("method", ["alllarge", "depthfl", "inclusivefl", "fedhello"])
def test_other_methods_run_on_texts(method: str, configured: Callable[..., ExperimentConfig], texts: Path) -> None:
    run = run_local(configured("roberta", f"method={method}"))
    scores_of(run, texts)
    described = json.loads((Path(run.run_dir) / "adapter" / "model.json").read_text())
    assert (described["input_size"], described["mean"]) == ([62], [])  # of 64 positions two go to padding


@pytest.mark.parametrize(("kind", "bits"), [("bert", "int8"), ("llama", "nf4")])
def test_quantised_models_give_the_same_bits_on_ray_and_load_with_the_accuracy_of_the_run(
    kind: str, bits: str, configured: Callable[..., ExperimentConfig], texts: Path, local_ray: None
) -> None:
    config = configured(kind, f"backbone.quantization={bits}")
    here = run_local(config)
    scores_of(here, texts)
    there = run_experiment(replace(config, run_dir=f"{config.run_dir}-on-ray"))
    assert {name: value.tobytes() for name, value in there.adapter.items()} == {
        name: value.tobytes() for name, value in here.adapter.items()
    }


def test_fewer_bits_take_less_memory_and_the_same_arithmetic(configured: Callable[..., ExperimentConfig]) -> None:
    plans = [
        plan_experiment(PlannedExperiment(**vars(configured("bert", f"backbone.quantization={bits}"))))
        for bits in ("null", "int8", "nf4")
    ]
    (whole, *_), (eight, *_), (four, *_) = (plan.tiers for plan in plans)
    assert whole.flops == eight.flops == four.flops
    assert whole.memory > eight.memory > four.memory


@pytest.mark.parametrize("settings", [["method=devft"], ["lora_aggregation=flora"]])
def test_methods_that_compute_with_frozen_weights_refuse_quantised_ones(
    settings: list[str], configured: Callable[..., ExperimentConfig]
) -> None:
    with pytest.raises(SettingError, match=r"^backbone.quantization=int8: must be null: .* computes with the frozen"):
        check_experiment(configured("bert", "backbone.quantization=int8", *settings))


def test_labels_are_skewed_and_precision_is_bfloat16(configured: Callable[..., ExperimentConfig]) -> None:
    run = run_local(configured("qwen3", "partition=shards", "fleet.num_clients=6", "training.precision=bf16"))
    partition = pq.read_table(Path(run.run_dir) / "partition.parquet").to_pandas()
    assert partition.groupby("client")["label"].nunique().max() <= 3
    assert partition["images"].sum() == 72
    assert all(np.isfinite(value).all() for value in run.adapter.values())


def test_memory_grows_with_the_length_of_texts(configured: Callable[..., ExperimentConfig]) -> None:
    def planned(length: int) -> PlannedExperiment:
        return PlannedExperiment(**vars(configured("bert", f"backbone.max_length={length}")))

    short, long = (plan_experiment(planned(length)) for length in (8, 64))
    assert long.data[0] == "3 domains, 3 classes, 72 train, 18 validation, 36 test texts"
    for few, many in zip(short.tiers, long.tiers, strict=True):
        assert few.parameters == many.parameters == 16 * 3 + 3 + few.layers * 2 * 2 * 8 * 16  # two targets, two factors
        assert many.memory > few.memory
        # Products of width 16 grow with the length, and those of attention with its square.
        assert 8 * few.flops < many.flops < 64 * few.flops


def test_budgets_of_memory_become_depths(configured: Callable[..., ExperimentConfig]) -> None:
    config = configured("llama")
    config.fleet.memory_mb = [100.0, 2.0]
    blueprint, _ = check_experiment(config)
    deep, shallow = blueprint.config.fleet.depths
    assert deep == 5 > shallow >= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["backbone.model='hf:'"], r"^backbone.model=hf:: name a folder or a model of the hub behind hf:"),
        (["backbone.mean=[0.5,0.5,0.5]"], r"^backbone.mean=.*: is for models of timm"),
        (["backbone.max_length=65"], r"^backbone.max_length=65: must be at most the model's 64 positions"),
        (["backbone.pooling=cls"], r"^backbone.pooling=cls: must be one of first, mean, last"),
        (["+backbone.model_args.depth=3"], r"^backbone.model_args.depth=3: is no setting of bert models"),
        (
            ["+backbone.model_args.num_hidden_layers=3"],
            r"its weights do not fit its config.json and backbone.model_args",
        ),
        (["lora.targets=[attn.qkv]"], r"^lora.targets=.*: must be linear layers of the blocks: attention.output.dense"),
        (["lora.patch_embedding=true"], r"^lora.patch_embedding=True: TextStack has no convolution"),
        (["evaluation.split=validation", "dataset.options.classes=[0]"], r"there must be two at least"),
        (["fleet.num_clients=3000"], r"east has 24 training texts, too few for 1000 clients"),
    ],
)
def test_settings_that_cannot_work_are_named(
    settings: list[str], message: str, configured: Callable[..., ExperimentConfig]
) -> None:
    with pytest.raises(SettingError, match=message):
        check_experiment(configured("bert", *settings))


def test_settings_of_texts_are_refused_for_images(config: ExperimentConfig) -> None:
    config.backbone = replace(config.backbone, pooling="mean")
    with pytest.raises(SettingError, match=r"^backbone.pooling=mean: is for language models"):
        check_experiment(config)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    configured: Callable[..., ExperimentConfig], tmp_path: Path
) -> None:
    write_model(tmp_path / "small", "bert", vocab_size=6)
    config = configured("bert")
    config.backbone.model = f"hf:{tmp_path / 'small'}"
    with pytest.raises(SettingError, match="its tokenizer makes the token 9, and the model knows 6 alone"):
        check_experiment(config)


def test_weights_that_are_missing_or_damaged_are_named(
    configured: Callable[..., ExperimentConfig], tmp_path: Path
) -> None:
    config = configured("bert")
    config.backbone.checkpoint = str(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match=r"^backbone.checkpoint=.*elsewhere: its weights cannot be read"):
        check_experiment(config)
    write_model(tmp_path / "elsewhere", "bert", hidden_size=8)
    write_tokenizer(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match=r"^backbone.checkpoint=.*elsewhere: its weights"):
        check_experiment(config)
    weights = tmp_path / "elsewhere" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(SettingError, match=r"^backbone.checkpoint=.*elsewhere: its weights cannot be read"):
        check_experiment(config)
    weights.unlink()
    torch.save({}, tmp_path / "elsewhere" / "pytorch_model.bin")  # pickled, and never read
    with pytest.raises(SettingError, match=r"^backbone.checkpoint=.*elsewhere: its weights cannot be read"):
        check_experiment(config)
    config.backbone.model, config.backbone.checkpoint = f"hf:{tmp_path / 'nowhere'}", None
    with pytest.raises(SettingError, match=r"^backbone.model=hf:.*nowhere: no folder with a config.json"):
        check_experiment(config)
