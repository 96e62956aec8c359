import math

import numpy as np
import pytest

from analysis.runs.intervals import half_width


def test_three_values_have_the_interval_of_students_t() -> None:
    assert half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.302653 / math.sqrt(3))


def test_one_value_has_none() -> None:
    assert math.isnan(half_width(np.array([1.0])))
