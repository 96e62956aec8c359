"""How names are written in figures."""

_LONGEST = 24  # letters that a figure has room for


def short(name: str) -> str:
    """A name that fits into a figure: a long one is cut off."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
