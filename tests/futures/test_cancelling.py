"""Futures that are cancelled: before they start, while they wait, and too late."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import CancelledError, Future, as_completed, wait

import pytest
from helpers import RecordingLimiter, wait_until
from observing import PATIENCE, Blocker, GatedLimiter

from paceline import BatchExecutor, RateLimiter, Retry


def test_cancel_before_the_start(blocker: Blocker) -> None:
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


def test_what_a_call_has_raised_may_use_the_executor_when_it_is_dropped() -> None:
    class Submitting(Exception):
        def __del__(self) -> None:
            futures.append(executor.submit(int))

    def fail() -> None:
        raise Submitting

    futures: list[Future[int]] = []
    retry = Retry(9, on=Submitting, backoff=0.01, max_backoff=30, jitter=False)
    with BatchExecutor(max_workers=1, retry=retry) as executor:
        future = executor.submit(fail)
        wait_until(future.running)
        time.sleep(0.3)  # after five attempts it waits for some 0.3 s
        assert not future.cancel()
        assert isinstance(future.exception(PATIENCE), Submitting)
        del future
        gc.collect()
        wait_until(lambda: futures)
        assert all(each.result(PATIENCE) == 0 for each in futures)


CANCELLED_VERBS = {
    "execute": lambda executor, work, n: [executor.execute(work)] * n,
    "execute_batch": lambda executor, work, n: executor.execute_batch([work] * n),
    "run": lambda executor, work, n: executor.run([work] * n).values(),
    "run of a generator": lambda executor, work, n: executor.run(work for _ in range(n)).values(),
    "stream": lambda executor, work, n: [it.value for it in executor.stream([work] * n)],
    "ordered": lambda executor, work, n: [
        it.value for it in executor.stream([work] * n, ordered=True)
    ],
    "map": lambda executor, work, n: list(executor.map(lambda _: work(), range(n))),
}


# Of a generator it is not known before it is asked once more.
@pytest.mark.parametrize("verb", [it for it in CANCELLED_VERBS if "generator" not in it])
def test_a_batch_of_which_all_has_started_is_not_cancelled(verb: str) -> None:
    started, release = threading.Semaphore(0), threading.Event()
    workers = 1 if verb == "execute" else 3
    executor = BatchExecutor(max_workers=3)

    def work() -> int:
        started.release()
        assert release.wait(PATIENCE)
        return 7

    def cancel() -> None:
        for _ in range(workers):
            assert started.acquire(timeout=PATIENCE)
        executor.shutdown(wait=False, cancel_futures=True)
        release.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        assert CANCELLED_VERBS[verb](executor, work, 3) == [7] * 3
    finally:
        release.set()
        canceller.join()


@pytest.mark.parametrize("verb", [it for it in CANCELLED_VERBS if it != "execute"])
def test_a_batch_of_which_something_was_left_is_cancelled_with_its_report(verb: str) -> None:
    started, release = threading.Semaphore(0), threading.Event()
    executor = BatchExecutor(max_workers=3)

    def work() -> int:
        started.release()
        assert release.wait(PATIENCE)
        return 7

    def cancel() -> None:
        for _ in range(3):
            assert started.acquire(timeout=PATIENCE)
        executor.shutdown(wait=False, cancel_futures=True)
        release.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with pytest.raises(CancelledError) as caught:
            CANCELLED_VERBS[verb](executor, work, 5)
    finally:
        release.set()
        canceller.join()
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert report.ended_by == "shutdown"
    assert report.counts["done"] == 3
    # Of a generator as many as were read by then.
    read = sum(report.counts.values())
    assert report.counts["cancelled"] == read - 3
    assert "generator" in verb or read == 5


def test_a_batch_that_was_cancelled_in_vain_still_ends_at_its_timeout() -> None:
    release = threading.Event()
    executor = BatchExecutor(max_workers=2)
    canceller = threading.Timer(
        0.1, executor.shutdown, kwargs={"wait": False, "cancel_futures": True}
    )
    canceller.start()
    with pytest.raises(TimeoutError):
        executor.run([lambda: release.wait(PATIENCE)] * 2, timeout=0.3)
    release.set()
    canceller.join()
