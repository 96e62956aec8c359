"""Which settings tell runs apart."""

import json
from collections.abc import Sequence
from typing import Any


def apart(own: dict[str, Any], others: Sequence[dict[str, Any]], shown: Sequence[str]) -> list[str]:
    """The settings, as NAME=VALUE, in which a run differs from any of the others; `shown` ones are told elsewhere."""
    different = {n: v for n, v in own.items() if n not in shown and any(other.get(n) != v for other in others)}
    return [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in different.items()]
