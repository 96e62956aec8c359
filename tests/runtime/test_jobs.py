# Long: three kinds of jobs, each driven through deaths, orders of arrival and giving up.
"""The jobs driven by hand: no actor, no cluster; what a call ended with is a value that the test makes."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedra_ray.config.errors import ImageError, RunFailedError
from fedra_ray.federation.messages import ClientFailure, ClientReport, ClientTask, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.shards import Shard
from fedra_ray.federation.traffic import Traffic
from fedra_ray.runtime.jobs import Call, EvaluationJob, Failure, ServerJob, TrainingJob
from fedra_ray.runtime.placement import Pace

VALUES = object()  # no job looks into it
KEPT = {client: {"own": np.full(1, client)} for client in (1, 2)}
DEEPEST = 12
DIED = Failure("the actor died")
SHARDS = [Shard("dark", 0, 4), Shard("dark", 4, 6), Shard("light", 0, 3)]


def task(client: int, depth: int, images: int = 1) -> ClientTask:
    return ClientTask(1, client, tuple(range(depth)), ("head",), images=images)


def training(
    tasks: list[ClientTask], most: int | None = None, attempts: int = 3, pace: Pace | None = None
) -> TrainingJob:
    return TrainingJob(tasks, VALUES, KEPT, pace or Pace(None), most, attempts)


def evaluation(attempts: int = 3) -> EvaluationJob:
    return EvaluationJob(SHARDS, VALUES, Pace(None), attempts)


def offered(job: TrainingJob | EvaluationJob | ServerJob, tier: int = DEEPEST, slots: int = 1) -> Call:
    call = job.offer(tier, slots)
    assert call is not None
    return call


def clients(call: Call) -> list[int]:
    return [task.client for task, _ in call.arguments[0]]


def attempts(call: Call) -> list[int]:
    return [attempt for _, attempt in call.arguments[0]]


def trained(call: Call, failing: frozenset[int] = frozenset()) -> PartialRound:
    """What an actor answers: a report for every client of the call but those that fail."""
    partial = PartialRound()
    for task, attempt in call.arguments[0]:
        if task.client in failing:
            partial.failures.append(ClientFailure(task, f"attempt {attempt}"))
        else:
            report = ClientReport(task, Traffic(0, 0), examples=1, steps=1, loss=0.5, seconds=0.1, attempt=attempt)
            partial.reports.append(report)
    return partial


def answers(job: TrainingJob) -> tuple[list[int], list[ClientFailure]]:
    """Clients whose updates have arrived, and the failures that nothing mended."""
    reports = [report.task.client for part in job.parts for report in part.reports]
    return sorted(reports), [failure for part in job.parts for failure in part.failures]


def raised(cause: Exception) -> Failure:
    return Failure("a traceback", cause)


def test_the_longest_tasks_are_offered_first() -> None:
    job = training([task(0, 2), task(1, 4), task(2, 4, images=3), task(3, 1)], most=1)
    assert [clients(offered(job)) for _ in range(4)] == [[2], [1], [0], [3]]
    assert job.offer(DEEPEST, 1) is None


def test_a_call_names_the_actors_method_and_its_work() -> None:
    job = training([task(0, 2, images=5)])
    call = offered(job)
    assert (call.job, call.method, call.amount) == (job, "train", 10)
    assert VALUES in call.arguments
    assert (clients(call), attempts(call)) == ([0], [1])


@pytest.mark.parametrize(
    ("most", "sizes"), [(None, [4, 3, 2, 1, 1, 1, 1, 1, 1, 1]), (2, [2] * 5 + [1] * 6), (1, [1] * 16)]
)
def test_batches_shrink_to_single_clients_and_keep_to_the_bound(most: int | None, sizes: list[int]) -> None:
    job = training([task(client, 2) for client in range(16)], most)
    batches = []
    while (call := job.offer(DEEPEST, 2)) is not None:
        batches.append(clients(call))
    assert [len(batch) for batch in batches] == sizes
    assert sorted(client for batch in batches for client in batch) == list(range(16))


def test_calls_that_would_be_too_short_are_made_longer_by_what_was_measured() -> None:
    pace = Pace(None)
    pace.note(1000, 1.0)  # 50 units of call take as long as a call is worth
    job = training([task(client, 1) for client in range(100)], pace=pace)
    assert len(clients(offered(job, slots=2))) == 50
    few = training([task(client, 1) for client in range(8)], pace=pace)
    assert len(clients(offered(few, slots=4))) == 2  # but never at the cost of another slot's share


def test_a_tier_takes_only_clients_that_fit_it() -> None:
    job = training([task(0, 6), task(1, 3), task(2, 12)], most=1)
    assert clients(offered(job, tier=3)) == [1]
    assert job.offer(3, 1) is None
    assert clients(offered(job, tier=6)) == [0]
    assert clients(offered(job, tier=12)) == [2]


def test_it_is_done_when_every_call_has_ended() -> None:
    job = training([task(0, 2), task(1, 2)], most=1)
    first, second = offered(job), offered(job)
    assert not job.done
    job.accept(second, trained(second))
    assert not job.done
    job.accept(first, trained(first))
    assert job.done
    assert answers(job) == ([0, 1], [])
    assert training([]).done


def test_a_client_that_failed_is_tried_again_before_others_and_alone_with_its_attempt() -> None:
    job = training([task(client, 2) for client in range(12)])
    first = offered(job)
    assert clients(first) == [0, 1, 2, 3, 4, 5]
    job.accept(first, trained(first, failing=frozenset({0, 2, 3, 5})))
    assert answers(job) == ([1, 4], [])
    retries = [offered(job) for _ in range(4)]
    assert [(clients(call), attempts(call)) for call in retries] == [([client], [2]) for client in (0, 2, 3, 5)]
    following = offered(job)
    assert (clients(following), attempts(following)) == ([6, 7, 8], [1, 1, 1])


def test_a_retry_waits_for_an_actor_of_its_tier() -> None:
    job = training([task(0, 12), task(1, 2)], most=1)
    call = offered(job)
    job.fail(call, DIED)
    assert clients(offered(job, tier=2)) == [1]
    assert job.offer(2, 1) is None
    assert clients(offered(job)) == [0]


def test_an_actors_death_fails_its_batch_alone() -> None:
    job = training([task(client, 2) for client in range(6)], most=3)
    lost, other = offered(job), offered(job)
    job.fail(lost, DIED)
    job.accept(other, trained(other))
    retried = []
    while (call := job.offer(DEEPEST, 1)) is not None:
        retried.append((clients(call), attempts(call)))
        job.accept(call, trained(call))
    assert [batch for batch, _ in retried if len(batch) > 1] == []
    assert {batch[0]: number for batch, (number,) in retried} == {
        client: 2 if client in clients(lost) else 1 for client in range(6) if client not in clients(other)
    }
    assert answers(job) == ([*range(6)], [])


@pytest.mark.parametrize("most", [1, 2, 5])
def test_failing_on_every_attempt_is_answered_by_the_last_failure(most: int) -> None:
    job = training([task(0, 4), task(1, 2)], attempts=most)
    while (call := job.offer(DEEPEST, 1)) is not None:
        job.accept(call, trained(call, failing=frozenset({0})))
    assert job.done
    reports, (failure,) = answers(job)
    assert reports == [1]
    assert (failure.task.client, failure.error) == (0, f"attempt {most}")


@pytest.mark.parametrize("failure", [DIED, raised(KeyError("values"))])
def test_a_client_whose_call_always_fails_is_answered_by_that_error(failure: Failure) -> None:
    job = training([task(0, 4), task(1, 2)], attempts=2)
    while (call := job.offer(DEEPEST, 1)) is not None:
        if 0 in clients(call):
            job.fail(call, failure)
        else:
            job.accept(call, trained(call))
    reports, (answer,) = answers(job)
    assert reports == [1]
    assert answer.error == failure.text


@pytest.mark.parametrize("cause", [RunFailedError("no image can be read"), ImageError("0.png", "truncated")])
def test_an_error_that_no_attempt_mends_ends_the_run(cause: Exception) -> None:
    job = training([task(0, 1)])
    with pytest.raises(RunFailedError) as failure:
        job.fail(offered(job), raised(cause))
    assert failure.value is cause


#: How a call may end, by what its clients meet: nothing, an error of one of them, or the death of the actor.
ENDINGS: dict[str, Callable[[TrainingJob, Call], None]] = {
    "trained": lambda job, call: job.accept(call, trained(call)),
    "one fails": lambda job, call: job.accept(call, trained(call, frozenset(clients(call)[:1]))),
    "actor died": lambda job, call: job.fail(call, DIED),
}


@given(
    depths=st.lists(st.integers(0, DEEPEST), min_size=1, max_size=12),
    tiers=st.lists(st.integers(0, DEEPEST), max_size=3),
    most=st.one_of(st.none(), st.integers(1, 4)),
    attempts=st.integers(1, 3),
    data=st.data(),
)
def test_in_any_order_and_grouping_every_task_is_answered_once(
    depths: list[int], tiers: list[int], most: int | None, attempts: int, data: st.DataObject
) -> None:
    tiers = [*tiers, max(depths)]
    tasks = [task(client, depth) for client, depth in enumerate(depths)]
    job = training(tasks, most, attempts)
    under_way: list[Call] = []
    ended = 0
    while not job.done:
        waiting = data.draw(st.booleans()) if under_way else False
        call = None if waiting else job.offer(data.draw(st.sampled_from(tiers)), len(tiers))
        if call is not None:
            assert len(call.subject) <= (most or len(tasks))
            under_way.append(call)
        elif under_way:
            call = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            ENDINGS[data.draw(st.sampled_from(sorted(ENDINGS)))](job, call)
            ended += 1
        assert ended <= attempts * len(tasks)
    reports, failures = answers(job)
    assert sorted(reports + [failure.task.client for failure in failures]) == [*range(len(tasks))]
    tried = {report.task.client: report.attempt for part in job.parts for report in part.reports}
    assert all(1 <= attempt <= attempts for attempt in tried.values())


def scored(call: Call, top1: int = 1) -> Score:
    shard = call.subject
    return Score(shard.domain, "test", shard.stop - shard.start, top1, top5=2, loss=0.5)


def test_shards_are_offered_in_order_to_any_tier_and_their_work_is_counted_in_images() -> None:
    job = evaluation()
    calls = [offered(job, tier) for tier in (0, 1, DEEPEST)]
    assert [(call.method, call.subject, call.amount) for call in calls] == [
        ("evaluate", shard, shard.stop - shard.start) for shard in SHARDS
    ]
    assert all(VALUES in call.arguments and call.subject in call.arguments for call in calls)
    assert job.offer(DEEPEST, 1) is None
    assert not job.done


@given(order=st.permutations(range(len(SHARDS))))
def test_scores_of_shards_add_up_by_domain_in_any_order_of_arrival(order: list[int]) -> None:
    job = evaluation()
    calls = [offered(job) for _ in SHARDS]
    for number in order:
        assert not job.done
        job.accept(calls[number], scored(calls[number], top1=number))
    assert job.done
    assert [(score.domain, score.examples, score.top1, score.top5) for score in job.scores()] == [
        ("dark", 6, 1, 4),
        ("light", 3, 2, 2),
    ]


def test_a_shard_whose_actor_died_is_offered_again_at_once() -> None:
    job = evaluation()
    first = offered(job)
    job.fail(first, DIED)
    again = offered(job)
    assert again.subject == first.subject
    job.accept(again, scored(again))
    assert [offered(job).subject for _ in range(2)] == SHARDS[1:]


def test_an_evaluation_is_given_up_after_so_many_failures_per_shard() -> None:
    job = evaluation(attempts=2)
    for _ in range(2 * len(SHARDS) - 1):
        job.fail(offered(job), DIED)
    with pytest.raises(RunFailedError, match=r"the evaluation failed 6 times, the last time with: .*died"):
        job.fail(offered(job), DIED)


def test_an_error_of_the_evaluation_itself_is_not_tried_again() -> None:
    job = evaluation()
    cause = ValueError("the method predicts nothing")
    with pytest.raises(ValueError, match="predicts nothing") as failure:
        job.fail(offered(job), raised(cause))
    assert failure.value is cause


def test_a_domain_without_a_readable_image_ends_the_run() -> None:
    job = evaluation()
    for call in [offered(job) for _ in SHARDS]:
        job.accept(call, Score(call.subject.domain, "test", 0, 0, 0, 0.0, skipped=(("0.png", "truncated"),)))
    with pytest.raises(RunFailedError, match="domain dark: none of its 2 test images can be read"):
        job.scores()


def test_server_tasks_have_their_results_in_order_and_are_computed_again_if_their_actor_dies() -> None:
    tasks = [ServerTask(1, domain, 0.05, 10) for domain in range(3)]
    job = ServerJob(tasks, VALUES, Pace(None), max_attempts=2)
    calls = [offered(job, tier=0) for _ in tasks]  # any actor runs frozen blocks
    assert [(call.method, call.arguments, call.amount) for call in calls] == [
        ("compute", (task, VALUES), 10) for task in tasks
    ]
    assert job.offer(DEEPEST, 1) is None
    for call in reversed(calls[1:]):
        job.accept(call, {"own": np.full(1, call.subject.domain)})
    job.fail(calls[0], DIED)
    assert not job.done
    again = offered(job)
    assert again.subject == tasks[0]
    job.accept(again, {"own": np.zeros(1)})
    assert job.done
    assert [result["own"].item() for result in job.results] == [0, 1, 2]


def test_server_tasks_are_given_up_like_an_evaluation() -> None:
    job = ServerJob([ServerTask(1, 0, 0.05, 10)], VALUES, Pace(None), max_attempts=2)
    job.fail(offered(job), DIED)
    with pytest.raises(RunFailedError, match=r"the server's task failed 2 times, the last time with: .*died"):
        job.fail(offered(job), DIED)


def test_a_server_task_without_images_has_an_amount_by_which_a_pace_can_be_measured() -> None:
    call = offered(ServerJob([ServerTask(1, 0, 1.0, 0)], VALUES, Pace(None), max_attempts=1))
    call.job.pace.note(call.amount, 0.5)
    assert call.job.pace.limit(call.amount) > 0.5
