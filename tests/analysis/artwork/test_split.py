"""What shows or looks the same stays in one split."""

import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.artwork.split import grouped, near_pairs, split_groups


def test_pairs_are_near_when_their_mean_square_is_below_the_limit() -> None:
    hashes = np.array([[0.0, 0.0], [0.1, 0.1], [0.5, 0.5], [0.1, 0.12]], np.float32)
    assert near_pairs(hashes, 0.011) == [(0, 1), (1, 3)]  # 0.01, 0.0002; from 0 to 3 it is 0.0122


def test_pairs_connect_groups_across_others() -> None:
    assert grouped(["a", "b", "c", "d", "e"], [("a", "c"), ("e", "c")]) == [["a", "c", "e"], ["b"], ["d"]]


@given(st.integers(1, 60), st.integers(0, 9))
def test_every_group_is_in_one_split_and_shares_are_those_of_the_stratum(count: int, seed: int) -> None:
    strata = {str(item): "left" if item % 3 else "right" for item in range(count)}
    groups = [[str(item)] for item in range(count)]
    split = split_groups(strata, groups, random.Random(seed))
    assert split.keys() == strata.keys()
    for stratum in set(strata.values()):
        own = [split[item] for item in strata if strata[item] == stratum]
        held = len(own) > 2
        assert Counter(own)["test"] == (max(1, round(0.3 * len(own))) if held else 0)
        assert Counter(own)["validation"] == (max(1, round(0.12 * len(own))) if held else 0)


def test_a_large_group_and_one_across_strata_are_for_training() -> None:
    strata = {name: name[0] for name in ("a1", "a2", "a3", "a4", "a5", "a6", "b1", "b2", "b3", "b4")}
    groups = [["a1", "a2", "a3"], ["a4", "b1"], ["a5"], ["a6"], ["b2"], ["b3"], ["b4"]]
    for seed in range(5):
        split = split_groups(strata, groups, random.Random(seed))
        assert {split[name] for name in ("a1", "a2", "a3", "a4", "b1")} == {"train"}
        assert Counter(split[name] for name in ("b2", "b3", "b4")) == {"train": 1, "validation": 1, "test": 1}
