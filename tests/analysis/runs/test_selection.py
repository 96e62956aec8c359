from collections.abc import Callable

import pytest

from analysis.runs.reading import read_run
from analysis.runs.selection import every_round, few_rounds
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig


@pytest.fixture(scope="module")
def long_run(make_run: Callable[..., str]) -> str:
    def change(config: ExperimentConfig) -> None:
        config.rounds, config.training.max_steps = 5, 1

    return make_run(change)


def test_all_rounds_or_the_first_the_middle_and_the_last_are_looked_at(long_run: str) -> None:
    run = read_run(long_run)
    assert every_round(run) == [0, 1, 2, 3, 4, 5]
    assert few_rounds(run) == [0, 1, 3, 5]
    assert every_round(run, [4, 2]) == [2, 4]
    assert few_rounds(run, [4]) == [0, 4]


def test_a_round_that_is_not_kept_is_refused_with_those_that_are(fedra_run: str) -> None:
    with pytest.raises(SettingError, match=r"--rounds=7: .* keeps the rounds 0, 1, 2"):
        few_rounds(read_run(fedra_run), [1, 7])
