"""Limiters combined by `&`: who waits for which part, and who may go first meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from helpers import in_thread, wait_until, worst_window

from paceline import BatchExecutor, RateLimiter


@contextmanager
def waiting(limiter: RateLimiter) -> Iterator[threading.Thread]:
    """A thread that waits for a permit, which is not to be had before the block has ended."""
    before = limiter.wait_time()
    assert before > 0
    thread, granted = in_thread(limiter.acquire)
    wait_until(lambda: limiter.wait_time() > before)
    assert not granted
    yield thread
    thread.join(30)
    assert granted == [True]


def test_an_endpoint_without_room_does_not_hold_up_the_rest_of_the_account() -> None:
    account = RateLimiter(100, per=60)
    reports = RateLimiter(1, per=2) & account
    with BatchExecutor(reports) as slow, BatchExecutor(account) as quick:
        calls = [slow.submit(int) for _ in range(3)]
        calls[0].result()
        wait_until(lambda: reports.wait_time() > 3)
        began = time.monotonic()
        assert quick.execute_batch([int] * 50) == [0] * 50
        assert time.monotonic() - began < 1
        assert not any(call.done() for call in calls[1:])


def test_those_who_ask_are_told_the_same() -> None:
    account = RateLimiter(2, per=60)
    part = RateLimiter(1, per=0.5)
    reports = part & account
    part.acquire()
    with waiting(reports):
        # One of two permits may be had by others, and the last one is kept.
        assert account.wait_time() == 0.0
        assert account.try_acquire() is True
        assert account.wait_time() > 50
        assert account.try_acquire() is False
        assert account.acquire(timeout=1) is False
        assert part.wait_time() > 0
        assert part.try_acquire() is False
    assert account.wait_time() > 50


def test_one_who_comes_later_may_wait_for_what_is_left() -> None:
    account = RateLimiter(2, per=0.4)
    part = RateLimiter(1, per=3)
    part.acquire()
    account.acquire(2)
    with waiting(part & account) as report:
        # More than are kept for the report in one window, and many windows before it is due.
        began = time.monotonic()
        for _ in range(6):
            assert account.acquire() is True
        assert time.monotonic() - began < 2.5
        assert report.is_alive()


@pytest.mark.parametrize("heavy", [1, 2])
def test_parts_that_others_use_all_the_time_keep_nobody_waiting(heavy: int) -> None:
    parts = [RateLimiter(2, per=0.2, margin=0.05) for _ in range(2)]
    starts: list[list[float]] = [[], []]
    stop = threading.Event()

    def use(number: int) -> None:
        while not stop.is_set():
            parts[number].acquire()
            starts[number].append(time.monotonic())

    users = [threading.Thread(target=use, args=(number,)) for number in (0, 1) for _ in range(3)]
    both = parts[0] & parts[1]
    for thread in users:
        thread.start()
    try:
        waits = []
        for _ in range(5):
            began = time.monotonic()
            both.acquire(heavy)
            now = time.monotonic()
            waits.append(now - began)
            for times in starts:
                times.extend([now] * heavy)
    finally:
        stop.set()
        for thread in users:
            thread.join(30)
    # At each part, three are ahead who take two in a window, and then it is the next.
    assert max(waits) < 3
    for times in starts:
        assert worst_window(times, 0.2) <= 2


def test_executors_that_share_parts_all_come_to_their_end() -> None:
    a, b, c = (RateLimiter(limit, per=0.05, margin=0.02) for limit in (3, 5, 8))
    starts: dict[RateLimiter, list[float]] = {a: [], b: [], c: []}

    def start(limiter: RateLimiter) -> None:
        now = time.monotonic()
        for part in limiter.parts:
            starts[part].append(now)

    executors = [BatchExecutor(each, max_workers=3) for each in (a & b, b & c, a & b & c, a, b, c)]
    calls = [
        executor.submit(partial(start, executor.rate_limiter))
        for _ in range(20)
        for executor in executors
        if isinstance(executor.rate_limiter, RateLimiter)
    ]
    for call in calls:
        call.result(30)
    for limiter, times in starts.items():
        assert worst_window(times, 0.05) <= limiter.limit
    for executor in executors:
        executor.shutdown()


def test_what_comes_in_time_is_not_refused_for_the_sake_of_one_who_waits_elsewhere() -> None:
    long, short = RateLimiter(1, per=60), RateLimiter(1, per=1.5, margin=0)
    assert long.try_acquire()
    assert short.try_acquire()
    # The last of them stands behind at both, and lets others go first when it knows for what.
    for limiter in (long, short, long & short):
        threading.Thread(target=limiter.acquire, daemon=True).start()
        time.sleep(0.1)
    # With its permit it would be the third from now.
    assert short.wait_time() > 3.5
    assert short.acquire(timeout=3.5)
