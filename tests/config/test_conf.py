"""The configurations in conf/: every experiment of the paper composes to the paper's hyperparameters."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedra_ray.cli.compose import compose_named
from fedra_ray.config.checks import check
from fedra_ray.config.paths import conf_dir
from fedra_ray.config.schema import AggregationConfig, ExperimentConfig, LoraConfig, TrainingConfig

CELLS = [
    (f"{dataset}_{backbone}_{partition}", dataset, f"{backbone}_b16", partition)
    for dataset in ("domainnet", "nicopp")
    for backbone in ("vit", "mixer")
    for partition in ("feature_skew", "feature_label_skew")
]
FLEETS = {
    "extreme3": [3] * 6,
    "extreme4": [4] * 6,
    "extreme6": [6] * 6,
    "extreme3_beyond": [3] * 6,
    "extreme4_beyond": [4] * 6,
    "extreme6_beyond": [6] * 6,
    "dynamic": [12, 10, 8, 6, 4, 3],
    "fedbrick": [12, 10, 8, 6, 5, 4],
}
METHODS = ["fedra", "alllarge", "allsmall", "exclusive", "inclusivefl", "depthfl", "headonly"]
TIMM = {
    "vit_b16": "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "mixer_b16": "mixer_b16_224.goog_in21k_ft_in1k",
}


def composed(*overrides: str) -> ExperimentConfig:
    config = compose_named("config", ExperimentConfig, list(overrides))
    check(config)
    return config


def paper(name: str, *overrides: str) -> ExperimentConfig:
    return composed(f"experiment=paper/{name}", "dataset.root=/data", *overrides)


def has_the_papers_hyperparameters(config: ExperimentConfig) -> None:
    training = config.training
    assert (training.lr, training.head_lr, training.momentum, training.weight_decay) == (0.01, 0.01, 0.9, 1e-5)
    assert (training.batch_size, training.local_epochs, training.clip_norm) == (128, 1, 10.0)
    assert (training.step_cap, training.extra_step, training.max_steps) == ("cohort", False, None)
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (8, 8, 0.1)
    assert (config.lora.targets, config.lora.patch_embedding) == (None, False)
    assert config.aggregation.weighting == "uniform"
    assert config.evaluation.split == "test"
    assert (config.backbone.pretrained, config.backbone.mean, config.backbone.std) == (True, None, None)


@pytest.mark.parametrize(("name", "dataset", "backbone", "partition"), CELLS, ids=[cell[0] for cell in CELLS])
def test_every_cell_of_the_paper_is_an_experiment(name: str, dataset: str, backbone: str, partition: str) -> None:
    config = paper(name)
    has_the_papers_hyperparameters(config)
    assert (config.dataset.name, config.backbone.name, config.partition.name) == (dataset, backbone, partition)
    assert config.backbone.model == TIMM[backbone]
    assert config.fleet.depths == [12, 10, 8, 6, 4, 3]
    assert not config.fleet.dynamic
    expected: dict[str, Any] = {
        "feature_skew": (100, 6, "uniform", 100.0),
        "feature_label_skew": (150, 30, "per_domain", 0.5),
    }[partition]
    assert (config.rounds, config.fleet.num_clients, config.fleet.sampling, config.partition.alpha) == expected
    assert config.fleet.clients_per_round is None
    assert config.dataset.options["num_classes"] == (100 if dataset == "domainnet" else None)


@pytest.mark.parametrize("name", FLEETS)
def test_every_other_fleet_of_the_paper_is_an_experiment(name: str) -> None:
    config = paper(name)
    has_the_papers_hyperparameters(config)
    assert (config.rounds, config.fleet.depths, config.fleet.num_clients) == (100, FLEETS[name], 6)
    assert config.fleet.dynamic == (name == "dynamic")
    moved = paper(name, "dataset=nicopp", "backbone=mixer_b16", "partition=feature_label_skew")
    assert (moved.dataset.name, moved.backbone.name, moved.fleet.num_clients) == ("nicopp", "mixer_b16", 30)
    assert moved.fleet.depths == FLEETS[name]


def test_no_experiment_is_untested() -> None:
    files = {path.stem for path in (conf_dir() / "experiment" / "paper").glob("*.yaml")}
    assert files == {cell[0] for cell in CELLS} | set(FLEETS) | {"base"}


@pytest.mark.parametrize("method", METHODS)
def test_experiments_compose_with_every_method(method: str) -> None:
    assert paper("nicopp_mixer_feature_skew", f"method={method}").method.name == method


def test_experiments_are_rehearsed_on_the_embedded_data() -> None:
    config = composed("experiment=paper/domainnet_vit_feature_label_skew", "dataset=glyphs", "backbone=glyph_vit")
    assert (config.dataset.root, config.backbone.checkpoint) == (
        "asset://glyphs.parquet",
        "asset://glyph_vit.safetensors",
    )
    assert (config.fleet.num_clients, config.training.batch_size) == (30, 128)


def test_the_authors_oddities_are_switched_on_together() -> None:
    config = paper("domainnet_vit_feature_skew", "compat=authors")
    assert config.lora.patch_embedding
    assert config.backbone.mean == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    assert config.backbone.std == pytest.approx([0.26862954, 0.26130258, 0.27577711])
    assert (config.training.step_cap, config.training.extra_step) == ("fleet", True)
    assert config.dataset.resize == "authors"
    assert (config.training.cap_per_epoch, config.lora.head_init) == (True, "uniform")
    assert (config.partition.balanced, config.partition.min_size) == (True, 10)
    assert config.aggregation.patch_embedding == "client_0"
    inclusivefl = paper("domainnet_vit_feature_skew", "compat=authors", "method=inclusivefl")
    assert inclusivefl.method.options == {"momentum": 0.0}
    assert inclusivefl.aggregation.patch_embedding == "always"
    depthfl = paper("domainnet_vit_feature_skew", "compat=authors", "method=depthfl").method.options
    assert (depthfl["exits"], depthfl["shared_head"], depthfl["prediction"]) == ([4, 7, 10], True, "last")
    assert (depthfl["ramp_rounds"], depthfl["whole_model"]) == (500, True)
    mixer = paper("domainnet_mixer_feature_skew", "compat=authors")
    assert not mixer.lora.patch_embedding
    assert mixer.training.extra_step


@pytest.mark.parametrize(
    ("override", "setting", "value"),
    [
        ("lora.patch_embedding=true", ("lora", "patch_embedding"), True),
        ("training.extra_step=true", ("training", "extra_step"), True),
        ("training.step_cap=fleet", ("training", "step_cap"), "fleet"),
        ("backbone.mean=[0.48,0.46,0.41]", ("backbone", "mean"), [0.48, 0.46, 0.41]),
    ],
)
def test_each_oddity_is_a_setting_of_its_own(override: str, setting: tuple[str, str], value: Any) -> None:
    changed, plain = paper("domainnet_vit_feature_skew", override), paper("domainnet_vit_feature_skew")
    section, name = setting
    assert getattr(getattr(changed, section), name) == value
    setattr(getattr(changed, section), name, getattr(getattr(plain, section), name))
    changed.run_dir = plain.run_dir
    assert changed == plain


def test_the_default_experiment_is_that_of_the_dataclasses() -> None:
    assert composed("run_dir=runs/latest") == ExperimentConfig()


def test_the_papers_experiments_state_all_that_defaults_would_decide() -> None:
    stated = yaml.safe_load((conf_dir() / "experiment" / "paper" / "base.yaml").read_text())
    for section, schema in (("training", TrainingConfig), ("lora", LoraConfig), ("aggregation", AggregationConfig)):
        assert stated[section].keys() == {item.name for item in dataclasses.fields(schema)}
    assert stated["evaluation"] == {"split": "test"}


def test_no_choice_keeps_arguments_of_the_default_backbone() -> None:
    assert composed("backbone=vit_b16").backbone.model_args == {}
    assert "num_heads" not in composed("backbone=glyph_mixer").backbone.model_args


@pytest.mark.parametrize("folder", ["method", "dataset", "backbone", "fleet", "partition", "compat"])
def test_every_choice_composes(folder: str) -> None:
    choices = sorted(path.stem for path in Path(conf_dir() / folder).glob("*.yaml"))
    assert choices
    for choice in choices:
        composed(f"{folder}={choice}")
