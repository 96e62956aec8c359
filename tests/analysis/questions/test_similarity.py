import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.questions.similarity import class_means, linear_cka, main, similarities
from analysis.runs.features import Features


def test_cka_of_a_case_computed_by_hand() -> None:
    # Centred x = (-1, 0, 1), y = (-1, 2, -1): <x, y> = 0. With z = (0, 0, 3), centred (-1, -1, 2): <x, z> = 3,
    # so CKA = 3² / (|x|² |z|²) = 9 / (2 · 6).
    x, y, z = (np.array(column, dtype=float)[:, None] for column in ([1, 2, 3], [0, 3, 0], [0, 0, 3]))
    assert linear_cka(x, y) == pytest.approx(0)
    assert linear_cka(x, z) == pytest.approx(0.75)
    assert math.isnan(linear_cka(x, np.ones((3, 1))))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_cka_knows_neither_rotation_nor_scale_nor_place(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    features, other = rng.standard_normal((2, 6, 4))
    rotation, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    assert linear_cka(features, scale * features @ rotation + 5) == pytest.approx(1)
    assert linear_cka(features, other) == pytest.approx(linear_cka(scale * other @ rotation, features))
    assert 0 <= linear_cka(features, other) <= 1


def test_domains_are_paired_by_class() -> None:
    # The same class means in both domains, from images in another order and number.
    means = np.array([[1, 0], [0, 2], [3, 3]], dtype=np.float32)
    labels = np.array([0, 1, 2, 2, 1, 0, 0])
    domains = np.array([0, 0, 0, 1, 1, 1, 1])
    values = means[labels][None].copy()
    values[0, 5], values[0, 6] = [0, 0], [2, 0]
    found = Features(values, labels, domains)
    assert class_means(found, 1, np.array([0, 1, 2])).tolist() == [means.tolist()]
    (row,) = similarities(found, ["a", "b"])
    assert (row["layer"], row["first"], row["second"], row["cka"]) == (0, "a", "b", pytest.approx(1))
    assert row["chance"] < 1


def test_classes_that_a_domain_lacks_are_left_out() -> None:
    values = np.array([[[1.0], [2.0], [9.0], [1.0], [2.0]]], dtype=np.float32)
    found = Features(values, np.array([0, 1, 2, 0, 1]), np.array([0, 0, 0, 1, 1]))
    assert [row["cka"] for row in similarities(found, ["a", "b"])] == [pytest.approx(1)]


def test_the_command_leaves_every_pair_of_domains(fedra_run: str, tmp_path: Path) -> None:
    assert main([fedra_run, "--out", str(tmp_path)]) == 0
    table = pd.read_parquet(tmp_path / "similarity.parquet")
    assert len(table) == 3 * 5 * 3
    assert table.query("layer == 0")["cka"].isna().all()
    assert table.query("layer > 0")["cka"].between(0, 1).all()
    assert (tmp_path / "similarity.svg").exists()
