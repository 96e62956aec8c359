"""The names of methods in tables, figures and messages."""

from collections.abc import Mapping
from typing import Any

from fedra_ray.config.schema import WRAPPERS, ExperimentConfig


def method_label(settings: Mapping[str, Any]) -> str:
    """The label of a run's method, with those of what is put around it: FedRA + FedAdam.

    Args:
        settings: Settings of the run by dotted name. A method without a label is called by its name.
    """
    labels = [settings.get("method.label") or settings["method.name"]]
    labels += [settings.get(f"{section}.label") for section in WRAPPERS]
    return " + ".join(str(label) for label in labels if label)


def experiment_label(config: ExperimentConfig) -> str:
    """The label of an experiment's method, as `method_label` gives that of a run's."""
    labels = {f"{section}.label": getattr(config, section).label for section in ("method", *WRAPPERS)}
    return method_label({"method.name": config.method.name, **labels})
