"""Which settings shape a result, and which of them tell runs apart."""

import json
from collections.abc import Sequence
from typing import Any

from fedra_ray.run_dir import FREE, flat

#: Which run it is, where its files are, who watches it, and what never changes a result.
_FREE = (
    *FREE,
    *("seed", "evaluation.every", "evaluation.batch_size"),
    *("dataset.root", "backbone.checkpoint", "backbone.pretrained"),
)
_DEVICES = ("fleet.devices", "fleet.profiles.")  # times on them decide nothing but who is too late


def shaping(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config.yaml that shape a result, by dotted name."""
    settings = dict(flat(config))
    free = _FREE if settings.get("fleet.round_deadline") else _FREE + _DEVICES
    return {name: value for name, value in settings.items() if not name.startswith(free)}


def apart(own: dict[str, Any], others: Sequence[dict[str, Any]], shown: Sequence[str]) -> list[str]:
    """The settings, as NAME=VALUE, in which a run differs from any of the others; `shown` ones are told elsewhere."""
    different = {n: v for n, v in own.items() if n not in shown and any(other.get(n) != v for other in others)}
    return [f"{name}={json.dumps(value)}" for name, value in different.items()]
