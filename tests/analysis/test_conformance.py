import numpy as np
import pytest

from analysis.conformance.__main__ import measure
from analysis.conformance.cases import CASES, Case, aggregation, fixed, mean_factors, mean_product, of_layers


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}: {case.promise}")
def test_a_method_is_what_its_formula_says(case: Case) -> None:
    assert measure(case, problems=4, seed=1) <= case.tolerance


@pytest.mark.parametrize(
    "wrong",
    [
        of_layers(aggregation("flexlora.FlexLora"), mean_factors),
        of_layers(aggregation("fedexlora.FedExLora"), mean_factors),
        of_layers(aggregation("lorafair.LoraFair"), mean_product),
        of_layers(aggregation("hetlora.HetLora"), mean_factors),
        fixed("rolora.RoLora", 2, 0),
    ],
)
def test_another_formula_is_told_apart(wrong: object) -> None:
    assert wrong(np.random.default_rng(0)) > 1e-3  # type: ignore[operator]
