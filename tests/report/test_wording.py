from dataclasses import replace

import numpy as np
import pytest

from fedra_ray.report.comparison import Measure, compare
from fedra_ray.report.facts import Facts
from fedra_ray.report.wording import count, gaps, gaps_of, percent, result


def with_holders(facts: Facts, rows: list[list[int]], evaluated: tuple[int, ...] = (0, 1, 2, 3)) -> Facts:
    return replace(facts, holders=np.array(rows, dtype=np.int32), evaluated=list(evaluated))


def test_quantities() -> None:
    assert percent(0.8) == "80.0\u00a0%"
    assert percent(Measure(0.8, 0.0123)) == "80.0\u00a0±\u00a01.2\u00a0%"
    assert percent(None) == ""
    assert (count(1, "round"), count(2000, "round")) == ("1 round", "2,000 rounds")


def test_the_result_of_one_run(facts: Facts) -> None:
    run = replace(facts, mean=0.8)
    told = "FedRA reached 80.0\u00a0% mean test accuracy over 3 domains of shapes after 2 rounds."
    assert result(compare([run])) == told


def test_the_result_of_seeds_has_a_deviation(facts: Facts) -> None:
    runs = [
        replace(facts, mean=mean, seed=seed, settings=facts.settings | {"seed": seed})
        for seed, mean in ((0, 0.5), (1, 0.7))
    ]
    assert "FedRA reached 60.0\u00a0±\u00a014.1\u00a0% mean" in result(compare(runs))
    assert result(compare(runs)).endswith("after 2 rounds (2 seeds).")


@pytest.mark.parametrize(("other", "told"), [(0.7, "10.0 points ahead of"), (0.7999, "level with")])
def test_the_best_of_several_is_named_with_its_lead(facts: Facts, other: float, told: str) -> None:
    rival = replace(facts, method="DepthFL", mean=other, settings=facts.settings | {"method.name": "depthfl"})
    found = result(compare([rival, replace(facts, mean=0.8)]))
    assert found.startswith("FedRA is the best of 2 with 80.0\u00a0% mean test accuracy")
    assert found.endswith(f"{told} DepthFL.")


def test_other_data_is_not_compared(facts: Facts) -> None:
    other = replace(facts, dataset="letters", settings=facts.settings | {"dataset.name": "letters"})
    found = result(compare([facts, other]))
    assert "ahead" not in found
    assert found.count("reached") == 2


def test_full_coverage(facts: Facts) -> None:
    assert gaps(with_holders(facts, [[1, 1, 1, 1]] * 2)) == "Every layer had a holder in every round."


def test_layers_without_a_holder(facts: Facts) -> None:
    found = gaps(with_holders(facts, [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 3]]))
    assert found == (
        "Layer 0 was held by nobody in any round and kept the first values. In 3 of 3 rounds some layer had no holder "
        "and kept its value: layer 1 in 2 rounds, layer 3 in 2 rounds."
    )


def test_layers_that_are_not_evaluated_are_no_gaps(facts: Facts) -> None:
    found = gaps(with_holders(facts, [[1, 1, 0, 0]] * 2, evaluated=(0, 1)))
    assert found == "Layers 2 to 3 were not part of the evaluated model. Every layer had a holder in every round."


def test_a_head_alone(facts: Facts) -> None:
    assert "only the classification head was trained" in gaps(with_holders(facts, [[0, 0, 0, 0]]))


def test_many_gaps_are_not_all_listed(facts: Facts) -> None:
    rows = np.ones((9, 9), dtype=np.int32)
    np.fill_diagonal(rows, 0)
    found = gaps(replace(facts, holders=rows, evaluated=list(range(9))))
    assert found.endswith("layer 5 in 1 round, 3 others less often.")


def test_runs_with_the_same_to_tell_share_a_sentence(facts: Facts) -> None:
    full, gap = [[1, 1, 1, 1]] * 2, [[1, 1, 1, 0], [1, 1, 1, 1]]
    runs = []
    for seed, rows, rounds in ((0, full, 2), (1, full, 2), (0, full, 3), (1, gap, 3)):
        settings = facts.settings | {"seed": seed, "rounds": rounds}
        runs.append(replace(with_holders(facts, rows), seed=seed, settings=settings))
    assert gaps_of(compare(runs[:2])) == ["All runs: Every layer had a holder in every round."]
    first, second = gaps_of(compare(runs))
    assert first == "FedRA, rounds=2; FedRA, rounds=3, seed 0: Every layer had a holder in every round."
    assert second.startswith("FedRA, rounds=3, seed 1: In 1 of 2 rounds")
