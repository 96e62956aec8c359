"""Instruction tuning end to end: the run, its metrics, its adapter under PEFT, and the text that both generate."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from language_models import folders, write_model

from fedra_ray import (
    ExperimentConfig,
    Result,
    SettingError,
    TunedLanguageModel,
    compose,
    load,
    run_experiment,
    run_local,
)
from fedra_ray.cost.plan import PlannedExperiment, plan_experiment
from fedra_ray.preflight import check_experiment

import peft  # isort: skip  (fedra_ray lets it import beside a CPU-only torch)
import transformers  # isort: skip

#: The first letter of what is asked in each domain, and what is to be answered: a copy, or always the same.
ANSWERS: dict[str, tuple[str, Callable[[str], str]]] = {
    "copy": ("", lambda text: text[0]),
    "east": ("x", lambda _: "b"),
    "west": ("y", lambda _: "cd"),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three domains of 24 training and 8 test rows; letters are asked for."""
    rng = np.random.default_rng(0)
    rows = []
    for domain, (first, answer) in ANSWERS.items():
        for split, count in (("train", 24), ("test", 8)):
            for number in range(count):
                prompt = first + "".join(rng.choice(list("abcdefgh"), rng.integers(1, 7)))
                kind = ("short", "long")[number % 2]
                row = {"prompt": prompt, "response": answer(prompt), "domain": domain, "split": split, "kind": kind}
                rows.append(row)
    file: Path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """model_of(kind): the folder of a random decoder of that family, with its own head."""

    def write(folder: Path, kind: str) -> None:
        write_model(folder, kind, own_head=True, tie_word_embeddings=kind != "mistral")

    return folders(tmp_path_factory.mktemp, write)


@pytest.fixture
def configured(rows: Path, model_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., ExperimentConfig]:
    """configured(kind, *settings): three clients of depths 5, 3 and 1, two rounds of three steps."""

    def make(kind: str, *settings: str) -> ExperimentConfig:
        small = ["fleet.depths=[5,3,1]", "fleet.num_clients=3", "rounds=2", "training.max_steps=3"]
        model = ["backbone=causal_lm", f"backbone.model=hf:{model_of(kind)}"]
        data = ["dataset=instructions_parquet", f"dataset.root={rows}", "dataset.options.columns.domain=domain"]
        rates = ["training.lr=0.01", "training.batch_size=8", f"run_dir={tmp_path / 'run'}", "evaluation.batch_size=5"]
        return compose(*data, *model, *small, *rates, *settings)

    return make


def held_out(rows: Path) -> list[dict[str, Any]]:
    return [row for row in pq.read_table(rows).to_pylist() if row["split"] == "test"]


def plain_model(run: Result, folder: Path) -> tuple[Any, Any]:
    """The adapter of a run on transformers' own model, by PEFT; and the tokenizer."""
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tuned = peft.PeftModel.from_pretrained(plain, f"{run.run_dir}/adapter").eval()
    return tuned, transformers.AutoTokenizer.from_pretrained(folder)


def generated(model: Any, tokenizer: Any, prompts: Sequence[str], most: int) -> list[str]:
    """What transformers generates greedily, with its cache, prompt by prompt."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([[0, *tokenizer(f"{prompt}\n\n", add_special_tokens=False)["input_ids"]]])
        whole = model.generate(input_ids=ids, do_sample=False, max_new_tokens=most, pad_token_id=1)
        found.append(tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True))
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_the_adapter_under_peft_generates_the_same_text(
    kind: str, configured: Callable[..., ExperimentConfig], rows: Path, model_of: Callable[[str], Path]
) -> None:
    run = run_local(configured(kind, "rounds=4"))
    assert all(np.any(value) for name, value in run.adapter.items() if "lora_B" in name)
    assert not [name for name in run.adapter if "head" in name]
    model = load(run.run_dir)
    assert isinstance(model, TunedLanguageModel)
    plain, tokenizer = plain_model(run, model_of(kind))
    prompts = [row["prompt"] for row in held_out(rows)][::3]
    ours = model.generate(prompts, max_tokens=9)
    assert ours == generated(plain, tokenizer, prompts, 9)
    assert len(set(ours)) > 1
    untuned = transformers.AutoModelForCausalLM.from_pretrained(model_of(kind))
    assert ours != generated(untuned.eval(), tokenizer, prompts, 9)


def test_metrics_are_those_of_the_plain_model(
    configured: Callable[..., ExperimentConfig], rows: Path, model_of: Callable[[str], Path]
) -> None:
    longer = ["rounds=12", "training.max_steps=9", "training.lr=0.1", "lora.targets=[attn.c_attn,mlp.c_fc,mlp.c_proj]"]
    run = run_local(configured("gpt2", "method=alllarge", *longer))
    model, tokenizer = plain_model(run, model_of("gpt2"))
    for domain in ANSWERS:
        losses, hits, exact = [], [], []
        for row in [row for row in held_out(rows) if row["domain"] == domain]:
            prompt = [0, *tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]]
            answer = [*tokenizer(row["response"], add_special_tokens=False)["input_ids"], 2]
            ids, labels = torch.tensor([prompt + answer]), torch.tensor([[-100] * len(prompt) + answer])
            with torch.inference_mode():
                output = model(input_ids=ids, labels=labels)
            losses += [float(output.loss)] * len(answer)
            hits += (output.logits[0, len(prompt) - 1 : -1].argmax(-1) == torch.tensor(answer)).tolist()
            exact.append(generated(model, tokenizer, [row["prompt"]], len(answer))[0] == row["response"])
        metrics = {name: values[domain] for name, values in run.summary["metrics"].items()}
        assert metrics["token_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert metrics["perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-4)
        assert metrics["exact_match"] == pytest.approx(np.mean(exact))
        assert run.accuracy[domain] == pytest.approx(np.mean(hits))
    assert 0 < run.summary["metrics"]["exact_match"]["east"] < 1
    (row,) = [row for row in run.evaluations.to_pylist() if row["domain"] == "west"]
    assert row["examples"] == 8 * 3  # two letters and the end
    assert (row["macro_f1"], row["exact_match"]) == (None, run.summary["metrics"]["exact_match"]["west"])


@pytest.mark.parametrize("method", ["depthfl", "inclusivefl", "allsmall", "fedhello", "fedbrick", "devft", "partial"])
def test_rivals_tune_by_the_frozen_head_too(
    method: str, configured: Callable[..., ExperimentConfig], rows: Path
) -> None:
    run = run_local(configured("qwen3", f"method={method}", "client_optimizer=scaffold"))
    described = json.loads((Path(run.run_dir) / "adapter" / "model.json").read_text())
    assert {each["file"] for each in described["exits"]} == {""}
    model = load(run.run_dir)
    assert isinstance(model, TunedLanguageModel)
    assert len(model.generate([row["prompt"] for row in held_out(rows)], max_tokens=3)) == 24


def test_one_and_two_actors_and_this_process_give_the_same_bits(
    configured: Callable[..., ExperimentConfig], local_ray: None
) -> None:
    config = configured("llama", "lora.dropout=0.1", "lora_aggregation=flexlora")
    here = run_local(config)
    for actors in (1, 2):
        changed = replace(config, run_dir=f"{config.run_dir}-{actors}")
        there = run_experiment(replace(changed, runtime=replace(config.runtime, max_actors=actors)))
        assert there.summary["metrics"] == here.summary["metrics"]
        assert {name: value.tobytes() for name, value in there.adapter.items()} == {
            name: value.tobytes() for name, value in here.adapter.items()
        }


def test_categories_divide_answers_among_clients(configured: Callable[..., ExperimentConfig]) -> None:
    kinds = ["dataset.options.columns.label=kind", "dataset.options.columns.domain=null"]
    run = run_local(configured("qwen2", *kinds, "partition=shards", "fleet.num_clients=6", "training.precision=bf16"))
    partition = pq.read_table(Path(run.run_dir) / "partition.parquet").to_pandas()
    assert set(partition["label_name"]) == {"short", "long"}
    assert partition["images"].sum() == 72
    assert list(run.accuracy) == ["all"]


def test_memory_grows_with_the_vocabulary(configured: Callable[..., ExperimentConfig], tmp_path: Path) -> None:
    def planned(vocabulary: int) -> PlannedExperiment:
        folder = tmp_path / str(vocabulary)
        write_model(folder, "llama", own_head=True, vocab_size=vocabulary)
        config = configured("llama", "backbone.max_length=16")
        config.backbone.model = f"hf:{folder}"
        return PlannedExperiment(**vars(config))

    small, large = (plan_experiment(planned(vocabulary)).tiers[0] for vocabulary in (40, 4040))
    assert small.parameters == large.parameters
    scores = 16 * 4000  # of a text whose every token is one of an answer
    assert large.flops - small.flops == pytest.approx(large.steps * 8 * scores * 16 * 4)  # forward and back, once each
    assert large.memory - small.memory >= 4 * 4000 * 16 + 8 * 4 * scores


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["backbone=hf"],
            r"^backbone.head=trained: must be own for answers to prompts, as those of .*InstructionParquet",
        ),
        (["method=headonly"], r"^backbone.head=own: must be trained for a method that tunes nothing but a head"),
        (
            ["dataset=text_parquet", "dataset.options.columns={text: prompt, label: kind}"],
            r"^backbone.head=own: must be trained for texts in classes",
        ),
        (["dataset.options.domains=4"], r"^dataset.options.domains=4: must be from 1 to 3, all of them"),
        (["dataset.options.template=ask"], r"^dataset.options.template=ask: must have {prompt} in it"),
    ],
)
def test_settings_that_cannot_work_are_named(
    settings: list[str], message: str, configured: Callable[..., ExperimentConfig], model_of: Callable[[str], Path]
) -> None:
    again = [f"backbone.model=hf:{model_of('llama')}"]
    with pytest.raises(SettingError, match=message):
        check_experiment(configured("llama", *settings, *again))
