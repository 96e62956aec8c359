"""The table of properties: what is wanted, and what was measured."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.properties.measure import Properties

#: A property: what it is called, its value in percent or points, its sign, and the least that is wanted.
WANTED: tuple[tuple[str, Callable[[Properties], float], str, float], ...] = (
    ("(a) depth: probe after all blocks minus after a quarter", lambda p: p.probe_all - p.probe_quarter, "points", 20),
    ("(b) sub-models: probe on random halves, share of the full one", lambda p: p.probe_half / p.probe_all, "%", 80),
    ("(c) tuning: central LoRA minus a head alone", lambda p: p.lora - p.head, "points", 10),
    ("(d) domains: lost on the others when tuned on one", lambda p: p.own_domain - p.other_domains, "points", 15),
    ("(e) ceiling: central LoRA, test accuracy", lambda p: p.lora, "%", 70),
)


def table(measured: Mapping[str, Sequence[Properties]]) -> pd.DataFrame:
    """One row per property: what is wanted, and for every name mean ± standard deviation over its seeds."""
    rows = []
    for name, value, unit, least in WANTED:
        row = {"property": name, "wanted": f">= {least} {unit}"}
        for column, seeds in measured.items():
            values = 100 * np.array([value(properties) for properties in seeds])
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            row[column] = f"{values.mean():.1f}{spread}"
        rows.append(row)
    return pd.DataFrame(rows)
