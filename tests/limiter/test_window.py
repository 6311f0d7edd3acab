"""The window, measured where operations start, whoever takes the permits."""

from __future__ import annotations

import contextvars
import itertools
import statistics
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from helpers import worst_window
from reference import lateness

from paceline import BatchExecutor, BatchTimeoutError, Outcome, RateLimiter, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIMIT = 40
PER = 0.5
# What two busy cores may put between a stamp and the first line of an operation.
MARGIN = 0.05


def starting(starts: list[float], seconds: float = 0.0) -> Callable[[], None]:
    def operation() -> None:
        starts.append(time.monotonic())
        time.sleep(seconds)

    return operation


def limiter() -> RateLimiter:
    return RateLimiter(LIMIT, per=PER, margin=MARGIN)


def least_seconds(permits: int) -> float:
    return (permits - 1) // LIMIT * (PER + MARGIN)


def test_a_batch_of_many_windows_is_never_over_and_hardly_slower_than_it_must_be() -> None:
    starts: list[float] = []
    with lateness() as late:
        began = time.monotonic()
        operations = [starting(starts, 0.005)] * (5 * LIMIT)
        BatchExecutor(limiter(), max_workers=8).execute_batch(operations)
        elapsed = time.monotonic() - began
    assert worst_window(starts, PER) <= LIMIT
    assert elapsed <= least_seconds(5 * LIMIT) * 1.03 + 0.5 + 4 * late.seconds


def test_several_executors_and_threads_share_one_window() -> None:
    shared = limiter()
    starts: list[float] = []

    def batches() -> None:
        BatchExecutor(shared, max_workers=3).execute_batch([starting(starts)] * LIMIT)

    def streams() -> None:
        for _ in BatchExecutor(shared, max_workers=3).stream([starting(starts)] * LIMIT):
            pass

    def direct() -> None:
        for _ in range(LIMIT // 4):
            shared.acquire(2)
            starts.extend([time.monotonic()] * 2)

    threads = [threading.Thread(target=each) for each in (batches, batches, streams, direct)]
    with lateness() as late:
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - began
    total = 3 * LIMIT + 2 * (LIMIT // 4)
    assert len(starts) == total
    assert worst_window(starts, PER) <= LIMIT
    assert elapsed <= least_seconds(total) * 1.03 + 0.7 + 4 * late.seconds


def test_idling_in_the_input_saves_no_permits_up() -> None:
    starts: list[float] = []

    def operations() -> Iterator[Callable[[], None]]:
        for length in (3, LIMIT, 2 * LIMIT):
            for _ in range(length):
                yield starting(starts)
            time.sleep(1.4 * PER)

    BatchExecutor(limiter(), max_workers=6).execute_batch(operations())
    assert len(starts) == 3 * LIMIT + 3
    assert worst_window(starts, PER) <= LIMIT


def test_submitted_calls_and_maps_keep_to_the_window_as_well() -> None:
    starts: list[float] = []
    with BatchExecutor(limiter(), max_workers=6) as executor:
        futures = [executor.submit(starting(starts)) for _ in range(LIMIT)]
        values = executor.map(lambda _: starts.append(time.monotonic()), range(LIMIT + 5))
        for future in futures:
            future.result()
        assert len(list(values)) == LIMIT + 5
    assert len(starts) == 2 * LIMIT + 5
    assert worst_window(starts, PER) <= LIMIT


class Session:
    """What an operation leaves behind, and what takes its time to be dropped."""

    def __del__(self) -> None:
        time.sleep(0.2)


SESSION: contextvars.ContextVar[Session] = contextvars.ContextVar("session")


def returning_one() -> Session:
    time.sleep(0.3)
    return Session()


def late_value_of_a_batch(executor: BatchExecutor) -> None:
    with pytest.raises(BatchTimeoutError):
        executor.run([returning_one], timeout=0.1)


def late_value_of_a_stream(executor: BatchExecutor) -> None:
    with pytest.raises(BatchTimeoutError):
        list(executor.stream([returning_one], timeout=0.1))


def value_of_a_map_that_nobody_takes(executor: BatchExecutor) -> None:
    executor.map(lambda _: returning_one(), [1])


def context_of_a_batch_that_is_gone(executor: BatchExecutor) -> None:
    def run() -> None:
        SESSION.set(Session())
        with pytest.raises(BatchTimeoutError):
            executor.run([partial(time.sleep, 0.3)], timeout=0.1)

    contextvars.copy_context().run(run)


def earlier_attempt_of_a_call(executor: BatchExecutor) -> None:
    tries = itertools.count()

    def operation() -> None:
        if not next(tries):
            raise ConnectionRefusedError(Session())
        time.sleep(0.3)

    executor.submit(operation)


@pytest.mark.parametrize(
    "leave_behind",
    [
        late_value_of_a_batch,
        late_value_of_a_stream,
        value_of_a_map_that_nobody_takes,
        context_of_a_batch_that_is_gone,
        earlier_attempt_of_a_call,
    ],
)
def test_what_is_dropped_comes_not_between_a_permit_and_its_start(
    leave_behind: Callable[[BatchExecutor], None],
) -> None:
    starts: list[float] = []
    retry = Retry(2, backoff=0.01)
    with BatchExecutor(RateLimiter(1, per=0.25, margin=0), max_workers=1, retry=retry) as executor:
        leave_behind(executor)
        assert_started_as_told(executor.run([starting(starts)] * 3), starts)


def test_what_is_dropped_with_a_variable_comes_not_between_a_permit_and_its_start() -> None:
    starts: list[float] = []

    def setting() -> None:
        SESSION.set(returning_one())

    with BatchExecutor(RateLimiter(1, per=0.25, margin=0), max_workers=1) as executor:
        # Where no variable is set, operations may have one copy of the context after the other.
        run = partial(contextvars.Context().run, executor.run)
        report = run([setting, *[starting(starts)] * 3])
    assert_started_as_told(report[1:], starts)


def assert_started_as_told(outcomes: Iterable[Outcome[None]], starts: list[float]) -> None:
    for outcome, start in zip(outcomes, starts, strict=True):
        assert start - (outcome.started_at or 0) < 0.1
    assert all(after - before > 0.15 for before, after in itertools.pairwise(starts))


def test_two_limits_at_once_are_both_kept() -> None:
    starts: list[float] = []
    both = RateLimiter(10, per=0.1, margin=0.02) & limiter()
    BatchExecutor(both, max_workers=6).execute_batch([starting(starts)] * (2 * LIMIT + 10))
    assert worst_window(starts, 0.1) <= 10
    assert worst_window(starts, PER) <= LIMIT


def test_the_time_spent_waiting_is_told_to_the_millisecond() -> None:
    executor = BatchExecutor(RateLimiter(1, per=0.1, margin=0), max_workers=1)
    report = executor.run([partial(time.sleep, 0.03)] * 8)
    assert report[0].permit_wait == 0.0
    untold = []
    for before, outcome in itertools.pairwise(report):
        # The wait begins when the worker is free: when the operation before has ended.
        ended = (before.started_at or 0.0) + before.duration
        untold.append((outcome.started_at or 0.0) - ended - outcome.permit_wait)
    # Never more than there was; less, only where the machine held the worker up in between.
    assert min(untold) > -0.001
    assert statistics.median(untold) < 0.001, untold
    assert abs(report.permit_wait - sum(outcome.permit_wait for outcome in report)) < 0.001
    assert abs(report.working - sum(outcome.duration for outcome in report)) < 0.001
    assert report.bounded_by == "limit"
