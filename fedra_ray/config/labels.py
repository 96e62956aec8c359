"""The names of methods in tables, figures and messages."""

from collections.abc import Mapping
from typing import Any

from fedra_ray.config.schema import ExperimentConfig


def method_label(settings: Mapping[str, Any]) -> str:
    """The label of a run's method, with those of the optimisers around it: FedRA + FedAdam.

    Args:
        settings: Settings of the run by dotted name. A method without a label is called by its name.
    """
    labels = [settings.get("method.label") or settings["method.name"]]
    labels += [settings.get(f"{side}_optimizer.label") for side in ("client", "server")]
    return " + ".join(str(label) for label in labels if label)


def experiment_label(config: ExperimentConfig) -> str:
    """The label of an experiment's method, as `method_label` gives that of a run's."""
    return method_label(
        {
            "method.name": config.method.name,
            "method.label": config.method.label,
            "client_optimizer.label": config.client_optimizer.label,
            "server_optimizer.label": config.server_optimizer.label,
        }
    )
