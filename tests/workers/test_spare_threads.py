"""A worker that waits inside its operation gets a spare thread in its place, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed, wait
from typing import Any

import pytest
from helpers import Gauge, RecordingLimiter, wait_until
from nesting import (
    PATIENCE,
    by_as_completed,
    by_wait,
    executor_of,
    nested,
)
from observing import worker_threads

from paceline import BatchExecutor


def test_spare_threads_go_when_they_are_no_longer_needed() -> None:
    with BatchExecutor(max_workers=1, thread_name_prefix="spare") as executor:
        assert executor.submit(nested, by_wait, executor, 8).result(PATIENCE) == 8
        assert executor.submit(nested, by_as_completed, executor, 8).result(PATIENCE) == 8
        gauge = Gauge()

        def work() -> None:
            with gauge.running():
                time.sleep(0.01)

        executor.execute_batch([work] * 20, on_error="raise")
        assert gauge.most == 1, "one worker again"
    assert worker_threads("spare") == []


def all_at_once(executor: BatchExecutor, call: Callable[[], None], count: int) -> None:
    for future in [executor.submit(call) for _ in range(count)]:
        future.result()


def wait_for_all(executor: BatchExecutor, call: Callable[[], None], count: int) -> None:
    wait([executor.submit(call) for _ in range(count)])


def wait_for_a_moment(executor: BatchExecutor, call: Callable[[], None], count: int) -> None:
    futures = [executor.submit(call) for _ in range(count)]
    while wait(futures, timeout=0.01).not_done:
        pass


def each_as_completed(executor: BatchExecutor, call: Callable[[], None], count: int) -> None:
    for future in as_completed([executor.submit(call) for _ in range(count)]):
        future.result()


@pytest.mark.parametrize("way", [all_at_once, wait_for_all, wait_for_a_moment, each_as_completed])
def test_one_spare_for_one_worker_that_waits_for_many(way: Callable[..., None]) -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            time.sleep(0.005)

    with BatchExecutor(max_workers=2, thread_name_prefix="one_spare") as executor:
        executor.submit(way, executor, work, 30).result(PATIENCE)
        assert gauge.entered == 30
        assert gauge.most <= 2
        assert len(worker_threads("one_spare")) <= 3


def test_no_room_is_left_by_an_iterator_that_another_thread_closes() -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            time.sleep(0.005)

    with BatchExecutor(max_workers=1) as executor:

        def outer() -> Iterator[Future[None]]:
            completed = as_completed([executor.submit(work) for _ in range(9)])
            next(completed)
            return completed

        executor.submit(outer).result(PATIENCE).close()  # type: ignore[attr-defined]
        executor.execute_batch([work] * 20, on_error="raise")
        assert gauge.most <= 2, "the spare ends what it has begun"
        gauge.most = 0
        executor.execute_batch([work] * 20, on_error="raise")
        assert gauge.most == 1, "one worker again"


@pytest.mark.parametrize("limiter", [lambda: None, RecordingLimiter], ids=["none", "foreign"])
def test_spare_threads_do_not_pile_up(limiter: Callable[[], Any]) -> None:
    with executor_of(limiter(), 1) as executor:
        most = 0

        def outer() -> None:
            nonlocal most
            wait([executor.submit(int)])
            executor.submit(int).result(PATIENCE)
            most = max(most, len(worker_threads("paceline")))

        before = len(worker_threads("paceline"))
        for _ in range(100):
            executor.submit(outer).result(PATIENCE)
        assert most - before <= 2, "one worker, one spare"
        # Deep down many wait at once; afterwards nobody does.
        assert executor.submit(nested, by_wait, executor, 30).result(PATIENCE) == 30
        wait_until(lambda: len(worker_threads("paceline")) - before <= 2)
        assert executor.submit(nested, by_wait, executor, 30).result(PATIENCE) == 30
