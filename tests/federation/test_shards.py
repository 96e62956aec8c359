import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.messages import Score
from fedra_ray.federation.shards import Shard, accuracies, mean_accuracy, shards, total_scores


@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, 500), min_size=1), st.integers(1, 50))
def test_shards_are_every_image_once_in_order(images: dict[str, int], batch_size: int) -> None:
    found = shards(images, batch_size)
    for domain, count in images.items():
        covered = [index for shard in found if shard.domain == domain for index in range(shard.start, shard.stop)]
        assert covered == list(range(count))
    assert all(shard.stop - shard.start <= 4 * batch_size for shard in found)


def test_shards_do_not_depend_on_anything_but_images_and_batches() -> None:
    assert shards({"x": 9, "y": 2}, 2) == [Shard("x", 0, 8), Shard("x", 8, 9), Shard("y", 0, 2)]


def test_a_domains_score_is_that_of_all_its_shards() -> None:
    parts = [
        Score("x", "test", 8, 4, 6, 0.5, (("b", "bad"),), by_class=((3, 1), (5, 3), (4, 4))),
        Score("x", "test", 2, 2, 2, 1.0, (("a", "bad"),), by_class=((0, 2), (0, 2), (0, 2))),
        Score("y", "test", 3, 0, 1, 2.0),
    ]
    assert total_scores(parts) == [
        Score("x", "test", 10, 6, 8, 0.6, (("a", "bad"), ("b", "bad")), by_class=((3, 3), (5, 5), (4, 6))),
        Score("y", "test", 3, 0, 1, 2.0),
    ]


def test_a_domain_without_a_readable_image_ends_the_run() -> None:
    unread = Score("x", "test", 0, 0, 0, 0.0, (("a", "bad"),))
    assert total_scores([unread, Score("x", "test", 1, 1, 1, 0.5)])[0].examples == 1
    with pytest.raises(RunFailedError, match="domain x: none of its 1 test images can be read"):
        total_scores([unread])


def test_every_domain_counts_the_same_in_the_mean() -> None:
    scores = [Score("x", "test", 100, 25, 50, 1.0), Score("y", "test", 4, 3, 4, 1.0)]
    assert accuracies(scores) == {"x": 0.25, "y": 0.75}
    assert mean_accuracy(scores) == 0.5
