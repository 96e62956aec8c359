"""F1 and Matthews' correlation are those of scikit-learn, from counts alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from fedra_ray.federation.messages import Score
from fedra_ray.federation.metrics import macro_f1, matthews, mean_metrics, metrics, metrics_by_domain

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


def counted(pairs: list[tuple[int, int]]) -> np.ndarray:
    """Hits, predictions and examples of five classes, from pairs of a label and a prediction."""
    labels, predicted = np.array(pairs).T
    return np.stack([np.bincount(kind, minlength=5) for kind in (labels[labels == predicted], predicted, labels)])


@pytest.mark.filterwarnings("ignore:A single label")
@pytest.mark.filterwarnings("ignore:invalid value")
@given(PAIRS)
def test_they_are_scikit_learn_s(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(pairs).T
    expected = f1_score(labels, predicted, average="macro")
    assert macro_f1(counted(pairs)) == pytest.approx(expected)
    assert matthews(counted(pairs)) == pytest.approx(matthews_corrcoef(labels, predicted))


def test_of_two_classes_by_hand() -> None:
    """3 true negatives, 1 false positive, 2 false negatives, 4 true positives."""
    counts = np.array([[3, 4], [5, 5], [4, 6]])
    assert macro_f1(counts) == pytest.approx((2 * 3 / 9 + 2 * 4 / 11) / 2)
    assert matthews(counts) == pytest.approx((4 * 3 - 1 * 2) / math.sqrt(5 * 6 * 4 * 5))


def test_counts_beyond_64_bits_squared_are_exact() -> None:
    many = 10**11
    assert matthews(np.array([[many, many], [many, many], [many, many]])) == 1.0


def test_a_domain_has_what_its_score_counts() -> None:
    classes = Score("x", "test", 10, 7, 9, 0.5, by_class=((3, 4), (5, 5), (4, 6)))
    answers = Score("y", "test", 30, 20, 25, math.log(2), answers=8, exact=2)
    assert metrics(Score("z", "test", 1, 1, 1, 0.5)) == {}
    assert metrics(answers) == {"token_loss": math.log(2), "perplexity": pytest.approx(2.0), "exact_match": 0.25}
    assert metrics_by_domain([answers])["exact_match"] == {"y": 0.25}
    again = Score("w", "test", 10, 10, 10, 0.1, by_class=((5, 5), (5, 5), (5, 5)))
    assert mean_metrics([classes, again])["matthews"] == pytest.approx((10 / math.sqrt(600) + 1) / 2)


def test_a_perplexity_beyond_floats_is_large_and_no_error() -> None:
    assert metrics(Score("y", "test", 30, 0, 0, 1e6, answers=1))["perplexity"] > 1e300
