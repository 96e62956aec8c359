import pickle
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from support import shipped_method

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import BackboneConfig, ExperimentConfig, LoraConfig
from fedra_ray.cost.law import Passed
from fedra_ray.cost.measure import cost_model
from fedra_ray.cost.plan import PlannedExperiment, plan_experiment
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.model.backbone import build
from fedra_ray.model.weights import from_weights
from fedra_ray.preflight import adapted_model, check_experiment


def test_a_blueprint_states_what_actors_share(config: ExperimentConfig) -> None:
    blueprint, weights = check_experiment(config)
    assert blueprint.num_layers == 4
    assert blueprint.targets == ("attn.proj", "mlp.fc2")
    assert blueprint.input_size == 16
    assert blueprint.domains == ("dark", "light", "noisy")
    assert blueprint.classes == ("square", "circle", "cross")
    model = adapted_model(blueprint, weights.training)
    assert model.layout == blueprint.layout
    assert np.shares_memory(model.blocks[0].norm1.weight.detach().numpy(), weights.training["blocks.0.norm1.weight"])


def test_another_process_is_handed_the_opened_images(config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    blueprint, _ = check_experiment(config)
    assert blueprint.dataset is blueprint.opened
    sent = pickle.dumps(blueprint)
    monkeypatch.setattr("fedra_ray.blueprint.open_labelled", lambda *_: pytest.fail("opened again"))
    there = pickle.loads(sent).dataset
    assert there.labels("dark", "train").tolist() == blueprint.dataset.labels("dark", "train").tolist()
    assert there.images("dark", "test", np.arange(2)).any()


class Own(ParquetDataset):
    """A data set of a user's own may hold anything: here a lock, which cannot be handed over."""

    def __init__(self, root: str, image_size: int) -> None:
        super().__init__(root, image_size)
        self.lock = Lock()


def test_another_process_opens_a_data_set_of_one_s_own_by_itself(config: ExperimentConfig) -> None:
    config.dataset.target = f"{__name__}.Own"
    blueprint, _ = check_experiment(config)
    there = pickle.loads(pickle.dumps(blueprint))
    assert there.opened is None
    assert there.dataset.domains == blueprint.domains


def test_heads_are_those_of_the_method(config: ExperimentConfig) -> None:
    config.method = shipped_method("depthfl")
    blueprint, weights = check_experiment(config)
    assert blueprint.layout.head_names == ("exit_1", "exit_2", "exit_4")
    assert set(adapted_model(blueprint, weights.training).heads) == {"exit_1", "exit_2", "exit_4"}


def test_targets_of_one_s_own_get_lora(config: ExperimentConfig) -> None:
    config.lora = LoraConfig(rank=3, targets=["attn.qkv"])
    layer = check_experiment(config)[0].layout.layers[1]
    assert [(entry.name, entry.shape) for entry in layer] == [
        ("blocks.1.attn.qkv.lora_A", (3, 16)),
        ("blocks.1.attn.qkv.lora_B", (48, 3)),
    ]


@pytest.mark.parametrize(
    ("part", "changes", "setting"),
    [
        ("training", {"lr": 0.0}, "training.lr"),
        ("backbone", {"std": [1.0, 1.0]}, "backbone.std"),
        ("backbone", {"model": "no_such_model"}, "backbone.model"),
        ("backbone", {"checkpoint": "/nowhere.pth"}, "backbone.checkpoint"),
        ("lora", {"targets": ["proj"]}, "lora.targets"),
        ("method", {"target": "no.such.Method"}, "method.target"),
        ("dataset", {"root": "/nowhere.parquet"}, "dataset.root"),
        ("fleet", {"depths": [5]}, "fleet.depths"),
        ("fleet", {"num_clients": 100}, "fleet.num_clients"),
    ],
)
def test_every_part_of_the_configuration_is_checked(
    part: str, changes: dict[str, object], setting: str, config: ExperimentConfig
) -> None:
    setattr(config, part, replace(getattr(config, part), **changes))
    with pytest.raises(SettingError) as refusal:
        check_experiment(config)
    assert refusal.value.args[:2] == (setting, next(iter(changes.values())))


@pytest.mark.parametrize(("cohort", "refused"), [(None, False), (3, False), (2, True)])
def test_covering_is_refused_if_some_cohort_is_too_shallow(
    cohort: int | None, refused: bool, config: ExperimentConfig
) -> None:
    config.method.options["draw"], config.fleet.clients_per_round = "covering", cohort
    if not refused:
        check_experiment(config)
        return
    with pytest.raises(SettingError, match="the shallowest cohort holds 3 layers, fewer than the model's 4") as refusal:
        check_experiment(config)
    assert refusal.value.args[:2] == ("method.options.draw", "covering")


def test_a_split_without_images_is_refused(config: ExperimentConfig) -> None:
    table = pq.read_table(config.dataset.root)
    empty = pc.and_(pc.equal(table["domain"], "light"), pc.equal(table["split"], "test"))
    config.dataset.root = config.run_dir + ".parquet"
    pq.write_table(table.filter(pc.invert(empty)), config.dataset.root)
    with pytest.raises(SettingError, match="light") as refusal:
        check_experiment(config)
    assert refusal.value.args[:2] == ("evaluation.split", "test")
    config.evaluation.split = "validation"
    check_experiment(config)


def test_memory_budgets_become_depths(config: ExperimentConfig) -> None:
    blueprint, weights = check_experiment(config)
    backbone = from_weights(config.backbone, weights.training)
    cost = cost_model(backbone, config, len(blueprint.classes), blueprint.method())
    config.fleet.memory_mb = [cost.memory(depth, config.training.batch_size) / 1e6 for depth in (2, 4, 1)]
    config.fleet.memory_mb.append(1000.0)
    assert check_experiment(config)[0].config.fleet.depths == [2, 4, 1, 4]
    config.fleet.memory_mb = [1000.0, 0.001]
    with pytest.raises(SettingError, match="not even one block fits"):
        check_experiment(config)


def test_memory_budgets_count_what_stands_in_for_blocks(config: ExperimentConfig) -> None:
    config.method = shipped_method("fedbrick")
    blueprint, weights = check_experiment(config)
    cost = cost_model(from_weights(config.backbone, weights.training), config, 3, blueprint.method())
    exact = [cost.memory(d, config.training.batch_size, passed=Passed(stand_ins=4)) / 1e6 for d in (3, 1, 2)]
    config.fleet.memory_mb = exact
    assert check_experiment(config)[0].config.fleet.depths == [3, 1, 2]
    config.method = shipped_method("fedra")
    assert check_experiment(config)[0].config.fleet.depths == [4, 2, 3]


def test_a_cache_that_cannot_be_made_is_refused(config: ExperimentConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config.dataset.cache = str(tmp_path / "file" / "cache")
    with pytest.raises(SettingError, match="is no folder that can be made") as refusal:
        check_experiment(config)
    assert refusal.value.args[0] == "dataset.cache"


def test_half_precision_trains_in_bfloat16_and_evaluates_in_float32(config: ExperimentConfig) -> None:
    config.training.precision = "bf16"
    blueprint, weights = check_experiment(config)
    trained, evaluated = (adapted_model(blueprint, each) for each in (weights.training, weights.evaluation))
    assert trained.blocks[0].norm1.weight.dtype == torch.bfloat16
    assert evaluated.blocks[0].norm1.weight.dtype == torch.float32
    assert np.shares_memory(
        trained.blocks[0].norm1.weight.detach().view(torch.int16).numpy(), weights.training["blocks.0.norm1.weight"]
    )
    rounded = evaluated.blocks[0].norm1.weight.bfloat16()
    assert torch.equal(trained.blocks[0].norm1.weight, rounded)


def test_targets_that_the_model_bypasses_are_refused_before_anything_runs(config: ExperimentConfig) -> None:
    arguments = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "depth": 4}
    config.backbone = BackboneConfig(model="beit_base_patch16_224", model_args=arguments, mean=[0.5] * 3, std=[0.5] * 3)
    config.lora.targets = ["mlp.fc1", "attn.qkv"]
    planned = PlannedExperiment(**vars(config))
    message = r"^lora.targets=\['mlp.fc1', 'attn.qkv'\]: Beit reads the weight of attn.qkv without calling the layer"
    with pytest.raises(SettingError, match=message):
        plan_experiment(planned)
    backbone = build(config.backbone)
    weights = {name: value.numpy() for name, value in backbone.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedra_ray.preflight.load_weights", lambda backbone: weights)
        with pytest.raises(SettingError, match=message):
            check_experiment(config)
