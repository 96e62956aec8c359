import json
from pathlib import Path

import pytest

from analysis.study import __main__ as study
from fedra_ray.config.errors import SettingError


def test_the_best_rate_is_that_of_the_largest_accuracy() -> None:
    scores = {f"DepthFL-{rate}": {"mean_accuracy": score} for rate, score in ((0.1, 1), (0.3, 3), (1.0, 2))}
    assert study.best_rates(scores, ["DepthFL"], [0.1, 0.3, 1.0]) == {"DepthFL": 0.3}


def test_learning_rates_of_another_study_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    rates = (0.1, 0.3)
    for rate, accuracy in zip(rates, (0.1, 0.3), strict=True):
        run = tmp_path / "tune" / f"head-only-{rate}"
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps({"mean_accuracy": accuracy}))
    tuned = study.tuned_in(tmp_path, ["Head only"], rates)
    assert study.best_rates(tuned, ["Head only"], rates) == {"Head only": 0.3}
    with pytest.raises(SettingError, match="a study that tuned FedRA"):
        study.tuned_in(tmp_path, ["Head only", "FedRA"], rates)
