"""From a configuration to a blueprint and a model, with every check that needs the data or the weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from torch import nn

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.checks import check
from fedra_ray.config.devices import with_profiles
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.measure import cost_model, with_depths
from fedra_ray.data.cache import open_cache
from fedra_ray.data.dataset import Dataset, open_dataset
from fedra_ray.data.division import Division
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.storage import frozen_bytes
from fedra_ray.methods.create import create_method
from fedra_ray.methods.method import Method
from fedra_ray.model.backbone import find_targets, input_size, normalisation
from fedra_ray.model.stack import check_stack, check_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.weights import FrozenWeights, Weights, from_weights, in_precision, load_weights

_NAMED = 8  # domains in a message


def check_experiment(config: ExperimentConfig) -> tuple[Blueprint, FrozenWeights]:
    """Check the whole configuration and load the frozen weights.

    Raises:
        SettingError: for the first setting that cannot work.
    """
    check(config)
    normalisation(config.backbone)
    weights = in_precision(load_weights(config.backbone), config.training.precision)
    backbone = from_weights(config.backbone, weights.evaluation)
    image_size = input_size(backbone)
    check_stack(backbone, config.backbone.model, image_size)
    targets = find_targets(backbone, config.lora.targets)
    check_targets(backbone, targets, image_size)
    dataset = open_dataset(config.dataset, image_size)
    cost = None
    if config.fleet.memory_mb is not None or config.fleet.devices is not None:
        cost = cost_model(from_weights(config.backbone, weights.training), config, len(dataset.classes))
        config = with_depths(replace(config, fleet=with_profiles(config.fleet)), cost)
    method = create_method(config, len(cast(nn.ModuleList, backbone.blocks)), Fleet(config, dataset.domains))
    model = adapt(backbone, targets, config, method, len(dataset.classes))
    frozen = frozen_bytes(weights.training, len(model.blocks))
    names = (dataset.domains, dataset.classes)
    blueprint = Blueprint(config, model.layout, targets, image_size, *names, frozen, cost, dataset)
    Division(config, dataset).check()
    open_cache(config.dataset, dataset, image_size)
    _check_split(dataset, config.evaluation.split)
    return blueprint, weights


def adapted_model(blueprint: Blueprint, weights: Weights) -> SubModel:
    """The model with LoRA and heads over shared frozen weights, those of training or of evaluation."""
    config = blueprint.config
    backbone = from_weights(config.backbone, weights)
    return adapt(backbone, blueprint.targets, config, blueprint.method(), len(blueprint.classes))


def adapt(
    backbone: nn.Module, targets: Sequence[str], config: ExperimentConfig, method: Method, classes: int
) -> SubModel:
    """The model with LoRA in its targets, and the heads and extras of the method; the backbone is changed in place.

    Args:
        backbone: The frozen model.
        targets: Module paths inside a block.
        config: The experiment; of it, the settings of LoRA.
        method: Names the heads, and makes the extras.
        classes: How many classes there are.
    """
    extras = method.extra_modules(int(cast(int, backbone.num_features)))
    changes = method.changes_weights
    return SubModel(backbone, targets, config.lora, method.head_names, classes, extras=extras, changes_weights=changes)


def _check_split(dataset: Dataset, split: str) -> None:
    """Refuse to evaluate on images that some domain does not have."""
    empty = [domain for domain in dataset.domains if not len(dataset.labels(domain, split))]
    if empty:
        rest = f" and {len(empty) - _NAMED} more of its {len(dataset.domains)} domains" if len(empty) > _NAMED else ""
        allowed = f"the data set has no such images of {', '.join(empty[:_NAMED])}{rest}"
        raise SettingError("evaluation.split", split, allowed)
