"""From a configuration to a blueprint and a model, with every check that needs the data or the weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from torch import nn

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.checks import check
from fedra_ray.config.devices import with_profiles
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.measure import priced
from fedra_ray.data.dataset import Labelled
from fedra_ray.data.division import Division
from fedra_ray.data.feeding import check_examples
from fedra_ray.data.opening import open_labelled
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.storage import frozen_bytes
from fedra_ray.methods.create import create_method
from fedra_ray.methods.method import Method
from fedra_ray.model.backbone import check_normalisation, find_targets, input_size
from fedra_ray.model.stack import check_stack, check_targets
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.text.stack import TextStack
from fedra_ray.model.weights import FrozenWeights, Weights, from_weights, in_precision, load_weights

_NAMED = 8  # domains in a message


def check_experiment(config: ExperimentConfig) -> tuple[Blueprint, FrozenWeights]:
    """Check the whole configuration and load the frozen weights.

    Raises:
        SettingError: for the first setting that cannot work.
    """
    check(config)
    check_normalisation(config.backbone)
    weights = in_precision(load_weights(config.backbone), config.training.precision)
    backbone = from_weights(config.backbone, weights.evaluation)
    size = input_size(backbone)
    check_stack(backbone, config.backbone.model, size)
    targets = find_targets(backbone, config.lora.targets)
    check_targets(backbone, targets, size)
    dataset = open_labelled(config.dataset, config.backbone, size)
    text = backbone if isinstance(backbone, TextStack) else None
    check_examples(config, dataset, size, text.vocabulary if text else None)
    cost = None
    if config.fleet.memory_mb is not None or config.fleet.devices is not None:
        config = replace(config, fleet=with_profiles(config.fleet))
        plain = from_weights(config.backbone, weights.training)
        config, cost = priced(config, plain, dataset.domains, len(dataset.classes))
    method = create_method(config, len(cast(nn.ModuleList, backbone.blocks)), Fleet(config, dataset.domains))
    model = adapt(backbone, targets, config, method, len(dataset.classes))
    _check_trains(method, model.layout)
    frozen = frozen_bytes(weights.training, len(model.blocks))
    names = (dataset.domains, dataset.classes)
    path = text.block_path if text else Blueprint.block_path
    blueprint = Blueprint(config, model.layout, targets, size, *names, frozen, cost, dataset, path)
    Division(config, dataset).check()
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


def _check_trains(method: Method, layout: Layout) -> None:
    """Refuse a method that trains a head alone, where the head is frozen."""
    if not any(layout.heads) and not method.allocate(list(method.depths), np.random.default_rng(0)).any():
        allowed = "must be trained for a method that tunes nothing but a head"
        raise SettingError("backbone.head", "own", allowed)


def _check_split(dataset: Labelled, split: str) -> None:
    """Refuse to evaluate on examples that some domain does not have."""
    empty = [domain for domain in dataset.domains if not len(dataset.labels(domain, split))]
    if empty:
        rest = f" and {len(empty) - _NAMED} more of its {len(dataset.domains)} domains" if len(empty) > _NAMED else ""
        allowed = f"the data set has no such {dataset.noun} of {', '.join(empty[:_NAMED])}{rest}"
        raise SettingError("evaluation.split", split, allowed)
