"""The table of properties."""

from analysis.properties.measure import Properties
from analysis.properties.table import table


def properties(lora: float) -> Properties:
    return Properties(
        probe_all=0.6,
        probe_quarter=0.35,
        probe_half=0.45,
        head=0.5,
        lora=lora,
        own_domain=0.5,
        other_domains=0.3,
    )


def test_every_property_is_in_percent_or_points_with_its_spread_over_seeds() -> None:
    rows = table({"one": [properties(0.7)], "two": [properties(0.7), properties(0.72)]})
    assert rows["one"].tolist() == ["25.0", "75.0", "20.0", "20.0", "70.0"]
    assert rows["two"].tolist() == ["25.0 ± 0.0", "75.0 ± 0.0", "21.0 ± 1.4", "20.0 ± 0.0", "71.0 ± 1.4"]
