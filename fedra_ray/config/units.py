"""Quantities as people read them."""


def scaled(value: float, unit: str = "") -> str:
    """Three significant digits with a decimal prefix: 1.85 GB."""
    power = 0
    while value >= 999.5 and power < 6:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}{unit}".strip()
