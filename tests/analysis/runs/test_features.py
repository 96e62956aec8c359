import numpy as np
import pytest
import torch

from analysis.runs.features import features
from analysis.runs.images import batches
from analysis.runs.reading import read_run
from analysis.runs.replay import Replay


def test_the_same_images_come_in_the_order_of_domains(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    first, second = (list(batches(replay, "train", 5)) for _ in range(2))
    assert [(domain, len(labels)) for domain, _, labels in first] == [(0, 5), (1, 5), (2, 5)]
    assert all(torch.equal(one[1], other[1]) for one, other in zip(first, second, strict=True))
    assert sum(len(labels) for _, _, labels in batches(replay, "train", 1000)) == 3 * 24


def test_the_deepest_head_on_the_deepest_features_is_the_model_s_prediction(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    values = replay.values(2)
    found = features(replay, values, "test", 1000)
    assert found.values.shape == (5, 18, 16)
    assert found.domains.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    tensors = replay.layout.tensors(values)
    scores = found.values[-1] @ tensors["heads.head.weight"].T + tensors["heads.head.bias"]
    with torch.no_grad():
        images = torch.cat([images for _, images, _ in batches(replay, "test", 1000)])
        expected = replay.method.predict(replay.model, images).numpy()
    assert scores == pytest.approx(expected, abs=1e-4)
    hits = scores.argmax(axis=1) == found.labels
    rows = replay.run.table("evaluations").query("round == 2")
    assert [hits[found.domains == index].mean() for index in range(3)] == pytest.approx(rows["top1"].tolist())


def test_before_any_block_a_class_token_has_seen_nothing(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    found = features(replay, replay.values(0), "test", 2)
    assert np.ptp(found.values[0], axis=0).max() == pytest.approx(0, abs=1e-6)
    assert np.ptp(found.values[1], axis=0).max() > 1e-3
