import numpy as np
import pytest

from analysis.runs.reading import read_run
from analysis.runs.replay import Replay, with_layers
from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.aggregation import MaskedSum


def test_a_replayed_round_is_the_run_s_own_bit_for_bit(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    for number in (1, 2):
        before = replay.values(number - 1)
        total = MaskedSum(replay.layout.segments)
        for update in replay.train(replay.tasks(number), number - 1):
            total.add(replay.layout.held(update.task.layers, update.task.sent), update.values)
        assert total.mean(before).tobytes() == replay.values(number).tobytes()


def test_tasks_are_those_on_record(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    rows = replay.run.table("clients")
    tasks = {(task.round, task.client): list(task.layers) for number in (1, 2) for task in replay.tasks(number)}
    assert tasks == {(row.round, row.client): row.layers.tolist() for row in rows.itertuples()}


def test_a_task_can_be_given_other_layers(fedra_run: str) -> None:
    replay = Replay(read_run(fedra_run))
    (update,) = replay.train([with_layers(replay.tasks(1)[2], [3, 0])], 0)
    assert update.task.layers == (0, 3)
    assert np.isfinite(update.values).all()


def test_a_round_that_was_not_kept_is_named(fedra_run: str) -> None:
    with pytest.raises(RunFailedError, match="round 7"):
        Replay(read_run(fedra_run)).values(7)
