"""`map`: values in order, a `buffersize`, a timeout, and an iterator that may be closed."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
from helpers import wait_until
from observing import PATIENCE, Blocker

from paceline import BatchExecutor, RateLimiter, report_of


def test_map_keeps_the_order_of_the_input(executor: BatchExecutor) -> None:
    def later_is_quicker(n: int) -> int:
        time.sleep(0.02 / (n + 1))
        return n

    assert list(executor.map(later_is_quicker, range(20))) == list(range(20))


def test_map_takes_several_iterables_to_the_end_of_the_shortest(executor: BatchExecutor) -> None:
    assert list(executor.map(pow, [2, 3, 4], iter([5, 2]))) == [32, 9]
    assert list(executor.map(abs, [])) == []


def test_map_runs_everything_though_nobody_iterates() -> None:
    done: list[int] = []
    executor = BatchExecutor(max_workers=2)
    executor.map(done.append, range(50))
    executor.shutdown(wait=True)
    assert sorted(done) == list(range(50))


def test_map_raises_where_the_failure_stands(executor: BatchExecutor) -> None:
    values = executor.map(functools.partial(divmod, 12), [4, 3, 0, 2])
    assert next(values) == (3, 0)
    assert next(values) == (4, 0)
    with pytest.raises(ZeroDivisionError) as caught:
        next(values)
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert report.ended_by == "operation"
    assert sum(report.counts.values()) == 4
    assert report.counts["failed"] == 1
    assert [outcome.index for outcome in report] == [3]


def test_map_does_not_end_in_silence_where_a_call_raises_stop_iteration(
    executor: BatchExecutor,
) -> None:
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        list(executor.map(next, [iter([1]), iter([])]))
    assert isinstance(caught.value.__cause__, StopIteration)
    assert caught.value.batch_report.counts["failed"] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("cancelled", [False, True])
def test_map_gives_the_values_before_what_ended_it(cancelled: bool) -> None:
    def work(n: int) -> int:
        if n == 3 and not cancelled:
            raise SystemExit(n)
        if n == 3:
            reached.set()
            gate.wait(PATIENCE)
        return n

    reached, gate = threading.Event(), threading.Event()
    executor = BatchExecutor(max_workers=1)
    values = executor.map(work, range(6))
    assert next(values) == 0
    if cancelled:
        assert reached.wait(PATIENCE)
        executor.shutdown(wait=False, cancel_futures=True)
    else:
        executor.shutdown()
    assert next(values) == 1
    assert next(values) == 2
    gate.set()
    with pytest.raises(CancelledError if cancelled else SystemExit):
        list(values)
    executor.shutdown()


def test_map_raises_an_iterables_exception_to_the_caller(executor: BatchExecutor) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no second")

    with pytest.raises(LookupError, match="no second"):
        executor.map(abs, broken())
    with pytest.raises(TypeError):
        executor.map(abs, 1)  # type: ignore[arg-type]


def test_map_timeout_counts_from_the_call(blocker: Blocker) -> None:
    with BatchExecutor(max_workers=1) as executor:
        values = executor.map(lambda operation: operation(), [int, blocker, int], timeout=0.3)
        assert next(values) == 0
        with pytest.raises(TimeoutError):
            next(values)
        with pytest.raises(StopIteration):
            next(values)
        blocker.release.set()


def test_a_map_whose_time_is_up_keeps_nobody_else_from_the_limiter() -> None:
    slow, shared = RateLimiter(1, per=40, margin=0), RateLimiter(10**6, per=1)
    slow.acquire()
    executor = BatchExecutor(slow & shared, 1)
    began = time.monotonic()
    values = executor.map(int, range(3), timeout=0.5)
    # Its values are not asked for yet. A worker waits for its permits, for as long as it has time.
    while shared.try_acquire() and time.monotonic() - began < 0.5:
        time.sleep(0.002)
    shared.acquire()
    assert time.monotonic() - began < 30
    with pytest.raises(TimeoutError):
        next(values)
    executor.shutdown()


def test_map_timeout_passes_while_the_consumer_is_away(blocker: Blocker) -> None:
    with BatchExecutor(max_workers=1) as executor:
        values = executor.map(lambda operation: operation(), [blocker], timeout=0.05)
        time.sleep(0.2)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            next(values)
        assert time.monotonic() - began < 1
        blocker.release.set()


def test_closing_the_map_iterator_cancels_what_has_not_started(blocker: Blocker) -> None:
    ran: list[int] = []

    def work(n: int) -> int:
        ran.append(n)
        if n == 1:
            blocker()
        return n

    with BatchExecutor(max_workers=1) as executor:
        values = executor.map(work, range(100))
        assert next(values) == 0
        assert blocker.started.wait(PATIENCE)
        values.close()  # type: ignore[attr-defined]
        blocker.release.set()
    assert ran == [0, 1]


def test_map_accepts_a_chunksize(executor: BatchExecutor) -> None:
    assert list(executor.map(abs, range(-10, 0), chunksize=3)) == list(range(10, 0, -1))


def test_map_with_a_buffersize_reads_only_so_far_ahead() -> None:
    workers, buffersize, n = 2, 3, 60
    read = 0
    handed_over = 0
    threads: set[int] = set()

    def source() -> Iterator[int]:
        nonlocal read
        for item in range(n):
            threads.add(threading.get_ident())
            read += 1
            assert read - handed_over <= workers + buffersize
            yield item

    with BatchExecutor(max_workers=workers) as executor:
        values = executor.map(abs, source(), buffersize=buffersize)
        for expected, value in enumerate(values):
            handed_over += 1
            assert value == expected
    assert (read, handed_over) == (n, n)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("buffersize", [1, 2, 7])
def test_map_with_a_buffersize_starts_with_the_call(buffersize: int) -> None:
    numbers = iter(range(20))
    started: list[int] = []
    executor = BatchExecutor(max_workers=2)
    executor.map(started.append, numbers, buffersize=buffersize)
    executor.shutdown(wait=True)
    assert sorted(started) == list(range(buffersize))
    assert next(numbers) == buffersize, "as many were read as the buffer holds"


def test_map_with_a_buffersize_goes_on_while_the_consumer_has_a_value() -> None:
    started: list[int] = []
    with BatchExecutor(max_workers=1) as executor:
        values = executor.map(started.append, itertools.count(), buffersize=1)
        next(values)
        wait_until(lambda: len(started) == 2)
        next(values)
        wait_until(lambda: len(started) == 3)
        del values


def test_an_input_that_raises_takes_no_value_from_a_map_with_a_buffersize() -> None:
    def source() -> Iterator[int]:
        yield from (-1, -2)
        raise LookupError("no more")

    with BatchExecutor(max_workers=1) as executor:
        values = executor.map(abs, source(), buffersize=1)
        assert [next(values), next(values)] == [1, 2]
        with pytest.raises(LookupError) as caught:
            next(values)
        assert report_of(caught.value).ended_by == "input"
        assert list(values) == []


def test_map_with_a_buffersize_runs_an_endless_input() -> None:
    def forever() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    with BatchExecutor(max_workers=2) as executor:
        values = executor.map(abs, forever(), buffersize=4)
        assert [next(values) for _ in range(500)] == list(range(500))
        values.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("buffersize", "error"),
    [(0, ValueError), (-1, ValueError), (2**70, ValueError), ("3", TypeError), (1.5, TypeError)],
)
def test_map_refuses_a_bad_buffersize(
    executor: BatchExecutor, buffersize: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"buffersize must be .*, not {buffersize!r}"):
        executor.map(abs, range(3), buffersize=buffersize)


@pytest.mark.parametrize(("chunksize", "error"), [(0, ValueError), ("3", TypeError)])
def test_map_refuses_a_bad_chunksize(
    executor: BatchExecutor, chunksize: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"chunksize must be .*, not {chunksize!r}"):
        executor.map(abs, range(3), chunksize=chunksize)


def test_map_releases_what_it_has_handed_over(executor: BatchExecutor) -> None:
    import weakref

    class Value: ...

    for value in executor.map(lambda _: Value(), range(20)):
        watched = weakref.ref(value)
        del value
        assert watched() is None


@pytest.mark.parametrize("verb", ["map", "stream"])
def test_shutdown_does_not_wait_for_calls_whose_time_has_passed(verb: str) -> None:
    calls = [functools.partial(time.sleep, 0.05)] * 50
    with BatchExecutor(max_workers=1) as executor:
        if verb == "map":
            values = executor.map(lambda call: call(), calls, timeout=0.1)
        else:
            values = executor.stream(calls, buffersize=20, timeout=0.1)
            next(values)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with pytest.raises(TimeoutError):
        list(values)
