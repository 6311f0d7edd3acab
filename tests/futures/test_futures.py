"""`submit`: what anyone who holds a `concurrent.futures.Executor` relies on."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Executor,
    Future,
    as_completed,
    wait,
)
from typing import Any

import pytest
from helpers import RecordingLimiter, fail, wait_until
from observing import PATIENCE, Blocker, GatedLimiter, stays

from paceline import BatchExecutor, RateLimiter

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


def test_a_foreign_limiter_is_asked_on_workers() -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, max_workers=3, thread_name_prefix="foreign") as executor:
        wait([executor.submit(time.sleep, 0.001) for _ in range(50)], PATIENCE)
        list(executor.map(abs, range(50)))
    assert limiter.calls == 100
    assert all(thread.name.startswith("foreign_") for thread in limiter.threads)


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
