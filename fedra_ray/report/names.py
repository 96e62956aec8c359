"""Names as figures and pages have them."""

from collections.abc import Mapping
from typing import Any

_LONGEST = 24  # letters that a figure has room for


def method_label(settings: Mapping[str, Any]) -> str:
    """What tables and figures call the method of a run, with the optimisers around it: FedRA + FedAdam.

    Args:
        settings: Of the run, by dotted name. One that states no label is called by its name.
    """
    labels = [settings.get("method.label") or settings["method.name"]]
    labels += [settings.get(f"{side}_optimizer.label") for side in ("client", "server")]
    return " + ".join(str(label) for label in labels if label)


def short(name: str) -> str:
    """A name for a figure: the end of a long one is left out."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
