"""From a configuration to everything that a run needs to know, with every check that needs the data or the model."""

from dataclasses import dataclass

from fedra_ray.adapter import Layout
from fedra_ray.backbone import Weights, find_targets, from_weights, input_size, load_weights, normalisation
from fedra_ray.config import ExperimentConfig, check
from fedra_ray.data.dataset import Dataset, open_dataset
from fedra_ray.data.fleet import Fleet
from fedra_ray.errors import SettingError
from fedra_ray.methods.method import Method, create_method
from fedra_ray.submodel import SubModel, check_stack


@dataclass(frozen=True)
class Blueprint:
    """What server and client actors share about an experiment; small, and the same for all of them.

    Attributes:
        config: The experiment.
        layout: How the adapter lies in its flat vector.
        targets: Where LoRA goes: module paths inside a block.
        image_size: Input side in pixels.
        domains: Names of the domains.
        classes: Names of the classes.
    """

    config: ExperimentConfig
    layout: Layout
    targets: tuple[str, ...]
    image_size: int
    domains: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def num_layers(self) -> int:
        """Layers of the full model."""
        return len(self.layout.layers)

    def method(self) -> Method:
        """The federated method."""
        return create_method(self.config, self.num_layers)

    def fleet(self) -> Fleet:
        """The clients."""
        return Fleet(self.config.fleet, self.domains, self.config.seed)

    def dataset(self) -> Dataset:
        """The images."""
        return open_dataset(self.config.dataset, self.image_size)

    def model(self, weights: Weights) -> SubModel:
        """The adapted model over shared frozen weights."""
        backbone = from_weights(self.config.backbone, weights)
        return SubModel(backbone, self.targets, self.config.lora, self.layout.head_names, len(self.classes))


def draw_up(config: ExperimentConfig) -> tuple[Blueprint, Weights]:
    """Check the whole configuration and load the frozen weights.

    Raises:
        SettingError: for the first setting that cannot work.
    """
    check(config)
    normalisation(config.backbone)
    weights = load_weights(config.backbone)
    backbone = from_weights(config.backbone, weights)
    image_size = input_size(backbone)
    check_stack(backbone, config.backbone.model, image_size)
    targets = find_targets(backbone, config.lora.targets)
    method = create_method(config, len(backbone.blocks))  # type: ignore[arg-type]
    dataset = open_dataset(config.dataset, image_size)
    model = SubModel(backbone, targets, config.lora, method.head_names, len(dataset.classes))
    blueprint = Blueprint(config, model.layout, targets, image_size, dataset.domains, dataset.classes)
    blueprint.fleet().check_data(dataset)
    _check_cover(blueprint)
    return blueprint, weights


def _check_cover(blueprint: Blueprint) -> None:
    """Refuse `allocation.cover` if some round's cohort could be too shallow to hold every layer."""
    config = blueprint.config
    fleet = blueprint.fleet()
    depths = sorted(fleet.depth(client) for client in range(config.fleet.num_clients))
    least = sum(depths[: config.fleet.clients_per_round])
    if config.allocation.cover and least < blueprint.num_layers:
        allowed = f"the shallowest cohort holds {least} layers, fewer than the model's {blueprint.num_layers}"
        raise SettingError("allocation.cover", True, f"{allowed}; add clients or depth, or set it to false")
