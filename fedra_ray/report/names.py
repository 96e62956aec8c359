"""Names as figures and pages have them."""

_LONGEST = 24  # letters that a figure has room for


def short(name: str) -> str:
    """A name for a figure: the end of a long one is left out."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
