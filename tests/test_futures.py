"""`submit` and `map`: what anyone who holds a `concurrent.futures.Executor` relies on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Executor,
    Future,
    as_completed,
    wait,
)
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest
from helpers import RecordingLimiter, wait_until
from observing import GatedLimiter, stays, worker_threads

from paceline import BatchExecutor, RateLimiter

PATIENCE = 20.0
"""Seconds after which a test that waits for another thread gives up."""


class Blocker:
    """An operation that tells when it has started and ends when it is released."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.release.wait(PATIENCE)
        return "released"


@pytest.fixture
def blocker() -> Iterator[Blocker]:
    operation = Blocker()
    yield operation
    operation.release.set()


@pytest.fixture
def executor() -> Iterator[BatchExecutor]:
    with BatchExecutor(max_workers=2) as made:
        yield made


def fail(message: str) -> None:
    raise ValueError(message)


# What it is


def test_is_an_executor(executor: BatchExecutor) -> None:
    assert isinstance(executor, Executor)
    assert issubclass(BatchExecutor, Executor)


def test_submit_gives_the_standard_librarys_future(executor: BatchExecutor) -> None:
    future = executor.submit(divmod, 7, 3)
    assert isinstance(future, Future)
    assert future.result(PATIENCE) == (2, 1)
    assert future.done()
    assert not future.cancelled()
    assert future.exception() is None


def test_submit_hands_arguments_on_as_they_are(executor: BatchExecutor) -> None:
    def given(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    future = executor.submit(given, 1, self=2, fn=3, executor=4)
    assert future.result(PATIENCE) == ((1,), {"self": 2, "fn": 3, "executor": 4})


@pytest.mark.parametrize("arguments", [{"fn": int}, {}, {"arg": 1}])
def test_submit_wants_the_function_by_position(
    executor: BatchExecutor, arguments: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        executor.submit(**arguments)


def test_the_exception_is_in_the_future_whole(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    error = LookupError("no such row")

    def lookup() -> None:
        raise error

    future = executor.submit(lookup)
    with pytest.raises(LookupError) as caught:
        future.result(PATIENCE)
    assert caught.value is error
    assert future.exception() is error
    assert lookup.__code__ in {entry.frame.code.raw for entry in caught.traceback}
    assert not caplog.records, "what is kept in a future is not logged"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_of_any_kind_stays_in_the_future(
    executor: BatchExecutor, kind: type[BaseException]
) -> None:
    def leave() -> None:
        raise kind("bye")

    future = executor.submit(leave)
    assert isinstance(future.exception(PATIENCE), kind)
    # The worker survives it.
    assert [executor.submit(abs, -n).result(PATIENCE) for n in range(4)] == [0, 1, 2, 3]


def test_a_coroutine_function_is_refused_not_forgotten(executor: BatchExecutor) -> None:
    async def never_awaited() -> None: ...

    with pytest.raises(TypeError, match=r"never_awaited|coroutine|async"):
        executor.submit(never_awaited).result(PATIENCE)


def test_operations_start_in_the_order_they_were_submitted() -> None:
    started: list[int] = []
    with BatchExecutor(max_workers=1) as executor:
        futures = [executor.submit(started.append, n) for n in range(200)]
        wait(futures, PATIENCE)
    assert started == list(range(200))


def test_all_workers_are_used_and_no_more() -> None:
    together = threading.Barrier(4)
    with BatchExecutor(max_workers=4) as executor:
        futures = [executor.submit(together.wait, PATIENCE) for _ in range(4)]
        assert sorted(future.result(PATIENCE) for future in futures) == [0, 1, 2, 3]

    running = 0
    most = 0
    lock = threading.Lock()

    def count() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    with BatchExecutor(max_workers=3) as executor:
        wait([executor.submit(count) for _ in range(60)], PATIENCE)
    assert most == 3


def test_many_threads_submit_at_once() -> None:
    threads, each = 8, 500
    results: list[list[int]] = [[] for _ in range(threads)]
    with BatchExecutor(max_workers=3) as executor:

        def submit_all(mine: int) -> None:
            futures = [executor.submit(int, mine * each + n) for n in range(each)]
            results[mine] = [future.result(PATIENCE) for future in futures]

        running = [threading.Thread(target=submit_all, args=(n,)) for n in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(PATIENCE)
    assert [value for mine in results for value in mine] == list(range(threads * each))


# Cancelling


def test_cancel_before_the_start(executor: BatchExecutor, blocker: Blocker) -> None:
    ran: list[int] = []
    with BatchExecutor(max_workers=1) as narrow:
        first = narrow.submit(blocker)
        assert blocker.started.wait(PATIENCE)
        waiting = narrow.submit(ran.append, 1)
        assert waiting.cancel()
        assert waiting.cancelled()
        with pytest.raises(CancelledError):
            waiting.result(PATIENCE)
        blocker.release.set()
        assert first.result(PATIENCE) == "released"
        assert narrow.submit(abs, -1).result(PATIENCE) == 1
    assert ran == []


def test_cancel_after_the_start_is_refused(executor: BatchExecutor, blocker: Blocker) -> None:
    future = executor.submit(blocker)
    assert blocker.started.wait(PATIENCE)
    assert future.running()
    assert not future.cancel()
    blocker.release.set()
    assert future.result(PATIENCE) == "released"
    assert not future.cancel()


def test_waiters_hear_of_a_cancellation(blocker: Blocker) -> None:
    with BatchExecutor(max_workers=1) as executor:
        first = executor.submit(blocker)
        assert blocker.started.wait(PATIENCE)
        doomed = executor.submit(int)
        threading.Timer(0.1, doomed.cancel).start()
        threading.Timer(0.2, blocker.release.set).start()
        done = list(as_completed([doomed, first], timeout=PATIENCE))
    assert set(done) == {doomed, first}
    assert doomed.cancelled()


def test_a_cancelled_future_takes_no_permit_of_a_foreign_limiter(blocker: Blocker) -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, max_workers=1) as executor:
        first = executor.submit(blocker)
        assert blocker.started.wait(PATIENCE)
        waiting = [executor.submit(int, n) for n in range(10)]
        for future in waiting[::2]:
            assert future.cancel()
        blocker.release.set()
        assert first.result(PATIENCE) == "released"
        assert [future.result(PATIENCE) for future in waiting[1::2]] == [1, 3, 5, 7, 9]
    assert limiter.calls == 1 + 5


def test_a_cancelled_future_takes_no_permit_of_ours(blocker: Blocker) -> None:
    limiter = RateLimiter(3, per=600)
    with BatchExecutor(limiter, max_workers=1) as executor:
        first = executor.submit(blocker)
        assert blocker.started.wait(PATIENCE)
        waiting = [executor.submit(int, n) for n in range(5)]
        for future in waiting[:4]:
            assert future.cancel()
        blocker.release.set()
        assert first.result(PATIENCE) == "released"
        assert waiting[4].result(PATIENCE) == 4
    assert limiter.try_acquire()
    assert not limiter.try_acquire()


def test_a_future_cancelled_while_it_waits_for_our_permit_takes_none() -> None:
    limiter = RateLimiter(1, per=0.6, margin=0)
    assert limiter.acquire()
    with BatchExecutor(limiter, max_workers=2) as executor:
        futures = [executor.submit(int, n) for n in range(6)]
        time.sleep(0.05)
        for future in futures[:5]:
            assert future.cancel()
        began = time.monotonic()
        assert futures[5].result(PATIENCE) == 5
        # Had the cancelled ones taken permits, this would be the sixth of the queue: 3.6 s.
        assert time.monotonic() - began < 2.5


def test_a_permit_that_is_under_way_goes_to_the_next_operation() -> None:
    limiter = GatedLimiter()
    with BatchExecutor(limiter, max_workers=2) as executor:
        doomed = executor.submit(int, 1)
        wait_until(lambda: limiter.asked)
        heir = executor.submit(int, 2)
        assert doomed.cancel()
        limiter.gate.set()
        assert heir.result(PATIENCE) == 2
    assert doomed.cancelled()
    assert limiter.granted == 1


def test_cancelling_from_many_threads_never_loses_an_outcome() -> None:
    limiter = RecordingLimiter()
    ran: list[int] = []
    with BatchExecutor(limiter, max_workers=2) as executor:
        futures = [executor.submit(ran.append, n) for n in range(2000)]

        def cancel_all(offset: int) -> None:
            for future in futures[offset::3]:
                future.cancel()

        cancelling = [threading.Thread(target=cancel_all, args=(n,)) for n in range(3)]
        for thread in cancelling:
            thread.start()
        for thread in cancelling:
            thread.join(PATIENCE)
        done, pending = wait(futures, PATIENCE)
        assert not pending
    cancelled = sum(future.cancelled() for future in futures)
    assert cancelled + len(ran) == len(futures) == len(done)
    # A permit under way while its operation is cancelled goes to the next one; only those under
    # way when nothing was left to run can be more than the starts.
    assert len(ran) <= limiter.calls <= len(ran) + 2


# Callbacks and waiting


def test_callbacks_are_called_once_each_with_the_future(
    executor: BatchExecutor, blocker: Blocker
) -> None:
    called: list[tuple[str, Future[Any]]] = []
    future = executor.submit(blocker)
    future.add_done_callback(lambda it: called.append(("first", it)))
    future.add_done_callback(lambda it: called.append(("second", it)))
    blocker.release.set()
    future.result(PATIENCE)
    wait_until(lambda: len(called) == 2)
    future.add_done_callback(lambda it: called.append(("late", it)))
    assert called == [("first", future), ("second", future), ("late", future)]


def test_a_callback_that_raises_is_logged_and_harms_nobody(
    executor: BatchExecutor, blocker: Blocker, caplog: pytest.LogCaptureFixture
) -> None:
    future = executor.submit(blocker)
    future.add_done_callback(lambda _: fail("in the callback"))
    blocker.release.set()
    assert future.result(PATIENCE) == "released"
    assert [executor.submit(int, n).result(PATIENCE) for n in range(4)] == [0, 1, 2, 3]
    wait_until(lambda: caplog.records)
    assert {record.name for record in caplog.records} == {"concurrent.futures"}


def test_a_callback_may_submit(executor: BatchExecutor, blocker: Blocker) -> None:
    second: Future[Future[int]] = Future()
    first = executor.submit(blocker)
    first.add_done_callback(lambda _: second.set_result(executor.submit(abs, -5)))
    blocker.release.set()
    assert second.result(PATIENCE).result(PATIENCE) == 5


def test_as_completed_yields_in_order_of_completion() -> None:
    releases = [threading.Event() for _ in range(3)]
    with BatchExecutor(max_workers=3) as executor:
        futures = [executor.submit(release.wait, PATIENCE) for release in releases]
        completed = as_completed(futures, timeout=PATIENCE)
        for position in (2, 0, 1):
            releases[position].set()
            assert next(completed) is futures[position]
        assert list(completed) == []


def test_wait_returns_at_the_first_completion_and_the_first_exception(blocker: Blocker) -> None:
    with BatchExecutor(max_workers=2) as executor:
        slow = executor.submit(blocker)
        quick = executor.submit(int, 1)
        done, pending = wait([slow, quick], PATIENCE, return_when=FIRST_COMPLETED)
        assert (done, pending) == ({quick}, {slow})
        failing = executor.submit(fail, "first")
        done, pending = wait([slow, failing], PATIENCE, return_when=FIRST_EXCEPTION)
        assert (done, pending) == ({failing}, {slow})
        done, pending = wait([slow], timeout=0.05)
        assert (done, pending) == (set(), {slow})
        blocker.release.set()
        assert wait([slow, quick, failing], PATIENCE).not_done == set()


def test_result_times_out_and_the_operation_goes_on(
    executor: BatchExecutor, blocker: Blocker
) -> None:
    future = executor.submit(blocker)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.05)
    blocker.release.set()
    assert future.result(PATIENCE) == "released"


def test_asyncio_awaits_the_future(executor: BatchExecutor) -> None:
    async def main() -> list[Any]:
        good = asyncio.wrap_future(executor.submit(pow, 2, 10))
        bad = asyncio.wrap_future(executor.submit(fail, "awaited"))
        return await asyncio.gather(good, bad, return_exceptions=True)

    value, error = asyncio.run(main())
    assert value == 1024
    assert isinstance(error, ValueError)
    assert str(error) == "awaited"


def test_cancelling_the_asyncio_future_cancels_ours(blocker: Blocker) -> None:
    with BatchExecutor(max_workers=1) as executor:
        executor.submit(blocker)
        assert blocker.started.wait(PATIENCE)
        waiting = executor.submit(int)

        async def main() -> None:
            wrapped = asyncio.wrap_future(waiting)
            wrapped.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wrapped

        asyncio.run(main())
        assert waiting.cancelled()
        blocker.release.set()


# submit never blocks


def test_submit_does_not_wait_for_a_limiter_that_never_grants() -> None:
    limiter = GatedLimiter()
    executor = BatchExecutor(limiter, max_workers=2)
    try:
        began = time.monotonic()
        futures = [executor.submit(int, n) for n in range(1000)]
        assert time.monotonic() - began < 2
        assert not any(future.done() for future in futures)
        # One permit is asked for at a time, and only for as many as could start.
        wait_until(lambda: limiter.asked)
        assert stays(lambda: limiter.asked)
        assert limiter.asked == 1
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in futures)
    finally:
        limiter.gate.set()
        executor.shutdown()


def test_submit_does_not_wait_for_our_limiter() -> None:
    limiter = RateLimiter(1, per=600)
    executor = BatchExecutor(limiter, max_workers=2)
    began = time.monotonic()
    futures = [executor.submit(int, n) for n in range(1000)]
    assert time.monotonic() - began < 2
    assert futures[0].result(PATIENCE) == 0
    began = time.monotonic()
    executor.shutdown(wait=True, cancel_futures=True)
    assert time.monotonic() - began < 5
    assert all(future.cancelled() for future in futures[1:])


def test_a_foreign_limiter_is_asked_on_one_thread_that_is_not_ours() -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, max_workers=3, thread_name_prefix="foreign") as executor:
        wait([executor.submit(time.sleep, 0.001) for _ in range(50)], PATIENCE)
        list(executor.map(abs, range(50)))
    assert limiter.calls == 100
    assert len(set(limiter.threads)) == 1
    assert threading.current_thread() not in limiter.threads


def test_a_foreign_limiter_is_asked_only_when_a_worker_is_free(blocker: Blocker) -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, max_workers=1) as executor:
        executor.submit(blocker)
        assert blocker.started.wait(PATIENCE)
        last = executor.submit(int)
        assert stays(lambda: limiter.calls)
        assert limiter.calls == 1
        blocker.release.set()
        last.result(PATIENCE)
    assert limiter.calls == 2


def test_submitted_operations_keep_to_the_limit() -> None:
    per, limit = 0.5, 10
    limiter = RateLimiter(limit, per=per)
    with BatchExecutor(limiter, max_workers=4) as executor:
        # A function written in C is called without a chance to switch threads in between.
        futures = [executor.submit(time.monotonic) for _ in range(35)]
        starts = sorted(future.result(PATIENCE) for future in futures)
    for first, after in zip(starts, starts[limit:], strict=False):
        assert after - first > per - 0.02


def test_a_limiter_that_refuses_fails_the_future() -> None:
    with BatchExecutor(RecordingLimiter(answer=False)) as executor:
        future = executor.submit(fail, "never run")
        error = future.exception(PATIENCE)
    assert type(error).__name__ == "PermitRefusedError"
    assert isinstance(error, RuntimeError)


def test_a_limiter_that_raises_reaches_the_future() -> None:
    class Down:
        def acquire(self) -> None:
            raise ConnectionError("limiter is down")

    with BatchExecutor(Down()) as executor:
        futures = [executor.submit(fail, "never run") for _ in range(3)]
        for future in futures:
            with pytest.raises(ConnectionError, match="limiter is down"):
                future.result(PATIENCE)


# map


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
    with pytest.raises(ZeroDivisionError):
        next(values)


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
    ("buffersize", "error"), [(0, ValueError), (-1, ValueError), ("3", TypeError), (1.5, TypeError)]
)
def test_map_refuses_a_bad_buffersize(
    executor: BatchExecutor, buffersize: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="buffersize"):
        executor.map(abs, range(3), buffersize=buffersize)


def test_map_releases_what_it_has_handed_over(executor: BatchExecutor) -> None:
    import weakref

    class Value: ...

    for value in executor.map(lambda _: Value(), range(20)):
        watched = weakref.ref(value)
        del value
        assert watched() is None


# Workers


def test_the_initializer_runs_once_in_each_worker() -> None:
    local = threading.local()
    initialized: list[str] = []

    def prepare(greeting: str, *, times: int = 1) -> None:
        local.greeting = greeting * times
        initialized.append(threading.current_thread().name)

    together = threading.Barrier(3)

    def work() -> str:
        together.wait(PATIENCE)
        return local.greeting  # type: ignore[no-any-return]

    with BatchExecutor(
        max_workers=3, thread_name_prefix="prepared", initializer=prepare, initargs=("hello",)
    ) as executor:
        futures = [executor.submit(work) for _ in range(3)]
        assert [future.result(PATIENCE) for future in futures] == ["hello"] * 3
        assert executor.execute_batch([lambda: local.greeting] * 20) == ["hello"] * 20
        assert len(initialized) == len(set(initialized)) == 3


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_failing_initializer_breaks_the_executor(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def prepare() -> None:
        time.sleep(0.05)
        raise kind("cannot prepare")

    with BatchExecutor(max_workers=2, initializer=prepare) as executor:
        try:
            futures = [executor.submit(int) for _ in range(5)]
        except BrokenThreadPool:
            futures = []
        for future in futures:
            assert isinstance(future.exception(PATIENCE), BrokenThreadPool)
        with pytest.raises(BrokenThreadPool):
            executor.submit(int).result(PATIENCE)
        for verb in (
            lambda: executor.execute(int),
            lambda: executor.execute_batch([int]),
            lambda: executor.run([int]),
            lambda: list(executor.stream([int])),
            lambda: list(executor.map(int, ["1"])),
        ):
            with pytest.raises(BrokenThreadPool):
                verb()
    assert any(
        record.name == "concurrent.futures" and record.levelname == "CRITICAL"
        for record in caplog.records
    ), "it is logged as the standard library does"


def test_a_failing_initializer_breaks_a_batch_under_way() -> None:
    def prepare() -> None:
        raise ValueError("cannot prepare")

    with BatchExecutor(max_workers=2, initializer=prepare) as executor:
        with pytest.raises(BrokenThreadPool):
            executor.execute_batch([int] * 100)


def test_an_initializer_must_be_callable() -> None:
    with pytest.raises(TypeError, match="initializer"):
        BatchExecutor(initializer="prepare")  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(workers: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        BatchExecutor(max_workers=workers)


def test_workers_carry_the_prefix_and_are_threads() -> None:
    with BatchExecutor(max_workers=2, thread_name_prefix="crew") as executor:
        assert worker_threads("crew") == [], "the pool is made when it is needed"
        thread = executor.submit(threading.current_thread).result(PATIENCE)
        assert isinstance(thread, threading.Thread)
        assert thread in worker_threads("crew")
    assert worker_threads("crew") == []


def test_context_variables_reach_each_operation_in_its_own_copy() -> None:
    import contextvars

    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    def change() -> str:
        seen = user.get()
        user.set("changed by an operation")
        return seen

    with BatchExecutor(max_workers=1) as executor:
        executor.submit(int).result(PATIENCE)
        token = user.set("ada")
        first = [executor.submit(change) for _ in range(3)]
        mapped = executor.map(lambda _: change(), range(3))
        user.reset(token)
        assert [future.result(PATIENCE) for future in first] == ["ada"] * 3
        assert list(mapped) == ["ada"] * 3
        assert executor.submit(user.get).result(PATIENCE) == "nobody"


def test_every_verb_of_one_executor_works_at_the_same_time() -> None:
    limiter = RateLimiter(100_000, per=1)
    with BatchExecutor(limiter, max_workers=3) as executor:
        jobs = {
            "submit": lambda: [executor.submit(int, n).result(PATIENCE) for n in range(200)],
            "map": lambda: list(executor.map(int, range(200))),
            "batch": lambda: executor.execute_batch(
                [functools.partial(int, n) for n in range(200)]
            ),
            "run": lambda: list(
                executor.run([functools.partial(int, n) for n in range(200)]).values()
            ),
            "stream": lambda: [
                outcome.value
                for outcome in executor.stream(
                    (functools.partial(int, n) for n in range(200)), ordered=True
                )
            ],
            "execute": lambda: [executor.execute(functools.partial(int, n)) for n in range(200)],
        }
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as callers:
            results = {name: callers.submit(job) for name, job in jobs.items()}
        for name, result in results.items():
            assert result.result(PATIENCE) == list(range(200)), name
