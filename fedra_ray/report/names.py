"""Names as figures and pages have them."""

_METHODS = {
    "alllarge": "AllLarge",
    "allsmall": "AllSmall",
    "depthfl": "DepthFL",
    "exclusive": "Exclusive",
    "fedra": "FedRA",
    "headonly": "Head only",
    "inclusivefl": "InclusiveFL",
}
_LONGEST = 24  # letters that a figure has room for


def method_label(name: str, draw: str) -> str:
    """The method's name as its paper writes it, with FedRA's draw where it is not the paper's."""
    return _METHODS.get(name, name) + ("" if draw == "uniform" else f", {draw}")


def short(name: str) -> str:
    """A name for a figure: the end of a long one is left out."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
