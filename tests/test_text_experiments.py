"""Every experiment on texts, on miniature files in the public layout of its data and on small random models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from language_models import LETTERS, write_model

from fedra_ray import ExperimentConfig, compose, run_local
from fedra_ray.config.paths import conf_dir
from fedra_ray.cost.plan import PlannedExperiment, plan_experiment
from fedra_ray.preflight import check_experiment

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment" / "text").glob("*.yaml"))
SHARED = {"classification", "instructions", "emoji"}  # that of emoji is tested beside its command
ANSWERED = {"aya", "alpaca_gpt4", "dolly", "dolly_by_category"}
CATEGORIES = (
    "brainstorming",
    "classification",
    "closed_qa",
    "creative_writing",
    "general_qa",
    "information_extraction",
)
CATEGORIES += ("open_qa", "summarization")


def words(number: int) -> str:
    return LETTERS[number % 20 :][:4]


def exported(file: Path, rows: list[dict[str, Any]], names: list[str] | None = None) -> None:
    """A file as Hugging Face's libraries write it, with the names of classes in its schema."""
    file.parent.mkdir(parents=True, exist_ok=True)
    features = {"label": {"names": names, "_type": "ClassLabel"}} if names else {}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), file)


def glue(folder: Path, texts: Callable[[int], dict[str, str]], names: list[str]) -> None:
    for split, count in (("train", 96), ("validation", 12), ("test", 6)):
        rows = [texts(n) | {"label": -1 if split == "test" else n % 2, "idx": n} for n in range(count)]
        exported(folder / f"{split}-00000-of-00001.parquet", rows, names)


def sst2(folder: Path) -> None:
    glue(folder, lambda n: {"sentence": words(n)}, ["negative", "positive"])


def qnli(folder: Path) -> None:
    glue(folder, lambda n: {"question": words(n), "sentence": words(n + 3)}, ["entailment", "not_entailment"])


def ag_news(folder: Path) -> None:
    for split, count in (("train", 96), ("test", 12)):
        rows = [{"text": words(n), "label": n % 4} for n in range(count)]
        exported(folder / "data" / f"{split}-00000-of-00001.parquet", rows, ["World", "Sports", "Business", "Sci/Tech"])


def alpaca_gpt4(folder: Path) -> None:
    parts = ("instruction", "input", "output", "text")
    rows = [
        dict(zip(parts, (words(n), "" if n % 3 else "z", words(n + 1), "all of it"), strict=True)) for n in range(100)
    ]
    exported(folder / "data" / "train-00000-of-00001-6ef3991c06080e14.parquet", rows)


def dolly(folder: Path) -> None:
    parts = ("instruction", "context", "response", "category")
    rows = [dict(zip(parts, (words(n), "", words(n + 1), CATEGORIES[n % 8]), strict=True)) for n in range(240)]
    exported(folder / "default" / "train" / "0000.parquet", rows)


def aya(folder: Path) -> None:
    """40 people, the first of whom wrote most."""
    rows = [
        {"inputs": words(n), "targets": words(n + 1), "language": "English", "language_code": "eng"}
        | {"annotation_type": "original-annotations", "user_id": f"{person:04x}"}
        for person in range(40)
        for n in range(50 - person)
    ]
    exported(folder / "data" / "train-00000-of-00001.parquet", rows)


WRITERS = {"sst2": sst2, "qnli": qnli, "ag_news": ag_news, "alpaca_gpt4": alpaca_gpt4, "aya": aya}
WRITERS |= {"dolly": dolly, "dolly_by_category": dolly}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A RoBERTa of 12 blocks and, for answers, a LLaMA of 30."""
    encoder, decoder = (tmp_path_factory.mktemp(kind) for kind in ("roberta", "llama"))
    write_model(encoder, "roberta", blocks=12, max_position_embeddings=130)
    write_model(decoder, "llama", own_head=True, blocks=30, max_position_embeddings=512)
    return {False: encoder, True: decoder}


@pytest.fixture
def composed(models: dict[bool, Path], tmp_path: Path) -> Callable[..., ExperimentConfig]:
    """composed(name, *settings): the experiment on its miniature files, with a round of two steps."""

    def make(name: str, *settings: str) -> ExperimentConfig:
        WRITERS[name](tmp_path / "data")
        places = [f"dataset.root={tmp_path / 'data'}", f"backbone.model=hf:{models[name in ANSWERED]}"]
        short = [
            "rounds=1",
            "training.max_steps=2",
            "backbone.max_length=32",
            "training.batch_size=4",
            f"run_dir={tmp_path / 'run'}",
        ]
        return compose(f"experiment=text/{name}", *places, *short, *settings)

    return make


def test_none_is_untested() -> None:
    assert {*EXPERIMENTS} == {*WRITERS, *SHARED}


@pytest.mark.parametrize("name", WRITERS)
def test_it_is_planned_and_passes_every_check(name: str, composed: Callable[..., ExperimentConfig]) -> None:
    config = composed(name)
    planned = plan_experiment(PlannedExperiment(**vars(config)))
    assert sum(tier.clients for tier in planned.tiers) == config.fleet.clients_per_round or name == "dolly_by_category"
    blueprint, _ = check_experiment(config)
    assert blueprint.num_layers == max(config.fleet.depths) == (30 if name in ANSWERED else 12)
    sizes = blueprint.division().sizes()
    assert len(sizes) == config.fleet.num_clients
    assert min(sizes) >= 1


def test_labels_are_skewed_by_a_dirichlet_distribution(composed: Callable[..., ExperimentConfig]) -> None:
    config = composed("ag_news")
    assert (config.partition.scheme, config.partition.alpha) == ("domain", 0.5)
    blueprint, _ = check_experiment(config)
    table = blueprint.division().table().to_pandas().pivot_table("images", "client", "label_name", fill_value=0)
    assert list(table) == ["Business", "Sci/Tech", "Sports", "World"]
    assert (table.max(axis=1) / table.sum(axis=1)).max() > 0.6


def test_every_person_is_a_client_and_a_category_another(composed: Callable[..., ExperimentConfig]) -> None:
    people, _ = check_experiment(composed("aya"))
    assert people.domains == tuple(f"{person:04x}" for person in range(38))
    assert people.division().sizes().tolist() == sorted(people.division().sizes().tolist(), reverse=True)


def test_a_category_is_a_client(composed: Callable[..., ExperimentConfig]) -> None:
    kinds, _ = check_experiment(composed("dolly_by_category"))
    assert kinds.domains == CATEGORIES
    assert [share[0][0] for share in map(kinds.division().share, range(8))] == [*CATEGORIES]


@pytest.mark.parametrize("name", ["qnli", "dolly_by_category"])
def test_it_runs_to_its_end(name: str, composed: Callable[..., ExperimentConfig]) -> None:
    result = run_local(composed(name, "fleet.clients_per_round=2"))
    assert result.summary["rounds"] == 1
    names = {"token_loss", "perplexity", "exact_match"} if name in ANSWERED else {"macro_f1", "matthews"}
    assert {*result.summary["metrics"]} == names
    assert [*result.accuracy] == ([*CATEGORIES] if name in ANSWERED else ["all"])
