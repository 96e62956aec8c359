import numpy as np

from fedra_ray.federation.seeding import Purpose, generator


def test_streams_repeat() -> None:
    first, again = (generator(3, Purpose.TRAINING, 5, 7).random(4) for _ in range(2))
    assert first.tolist() == again.tolist()


def test_seed_purpose_and_place_each_choose_a_stream() -> None:
    places = [(), (1,), (2,), (1, 2), (2, 1), (12,)]
    streams = {generator(seed, purpose, *where).random() for seed in (0, 1) for purpose in Purpose for where in places}
    assert len(streams) == 2 * len(Purpose) * len(places)


def test_purposes_keep_their_numbers() -> None:
    """A renumbered purpose would change every published result."""
    names = {"ADAPTER": 0, "PARTITION": 1, "COHORT": 2, "ALLOCATION": 3, "TRAINING": 4, "CAPACITY": 5, "RELIABILITY": 6}
    names |= {"PROXY": 7, "SERVER": 8}
    assert {purpose.name: purpose.value for purpose in Purpose} == names


def test_python_s_and_numpy_s_integers_name_the_same_stream() -> None:
    first = generator(0, Purpose.TRAINING, 1, 2)
    second = generator(int(np.int64(0)), Purpose.TRAINING, np.int64(1), np.int64(2))
    assert first.random() == second.random()
