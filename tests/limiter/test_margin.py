"""The margin that is learnt: the window holds as a server counts it. And limits that change."""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest
from counting import counting_server
from helpers import eager_thread_switches

from paceline import BatchExecutor, RateLimiter

BOUND = 0.05
"""Of what is learnt, for a window of a second."""


class Run(NamedTuple):
    """How an executor fared at a server that allows 100 in any second."""

    refused: int
    seconds: float
    # Between the shortest and the longest way from a start to the server, in seconds.
    variation: float


def run_at_a_server(
    calls: int, delay: float, *, anew: bool = False, limiter: RateLimiter | None = None
) -> Run:
    """Make calls that are up to ``delay`` seconds late, each on its own connection if ``anew``."""
    local = threading.local()
    opened: list[http.client.HTTPConnection] = []
    chance = random.Random(calls)

    def call(port: int, late: float) -> tuple[int, float]:
        began = time.monotonic()
        time.sleep(late)
        connection = getattr(local, "connection", None)
        if connection is None or anew:
            connection = local.connection = http.client.HTTPConnection("127.0.0.1", port)
            opened.append(connection)
        connection.request("GET", f"/{began}")
        with connection.getresponse() as response:
            status, way = response.status, float(response.headers["Delay"])
        if anew:
            connection.close()
        return status, way

    with counting_server() as port:
        began = time.monotonic()
        with BatchExecutor(limiter or RateLimiter(100, per=1), 16) as executor:
            late = [chance.uniform(0, delay) for _ in range(calls)]
            answers = executor.run([partial(call, port, each) for each in late]).values()
        seconds = time.monotonic() - began
        for connection in opened:
            connection.close()
    ways = [way for _, way in answers]
    statuses = [status for status, _ in answers]
    assert len(answers) == calls
    return Run(statuses.count(429), seconds, max(ways) - min(ways))


NETWORKS = [(0.0, False), (0.02, False), (0.05, False), (0.02, True)]


@pytest.mark.parametrize(("delay", "anew"), NETWORKS)
def test_a_server_refuses_nothing_at_the_defaults(delay: float, *, anew: bool) -> None:
    """What is late by more than the bound, as on a busy machine, proves nothing."""
    for _ in range(3):
        run = run_at_a_server(250, delay, anew=anew)
        assert run.seconds <= 2 * (1 + BOUND) * 1.5 + 2
        if run.refused == 0 or run.variation <= BOUND:
            break
    assert run.refused == 0 or run.variation > BOUND, run


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("delay", "anew"), NETWORKS)
def test_a_server_refuses_nothing_in_many_runs(delay: float, *, anew: bool) -> None:
    runs = [run_at_a_server(400, delay, anew=anew) for _ in range(20)]
    assert not [run for run in runs if run.refused and run.variation <= BOUND], runs
    assert [run for run in runs if not run.refused], runs


def test_without_a_margin_the_same_server_refuses() -> None:
    """So the tests above would notice."""
    runs = (run_at_a_server(250, 0.05, limiter=RateLimiter(100, per=1, margin=0)) for _ in range(3))
    assert any(run.refused for run in runs)


def test_the_margin_in_effect_is_what_calls_differed_by() -> None:
    limiter = RateLimiter(1000, per=10)
    assert limiter.margin == 0.1
    with BatchExecutor(limiter, 2) as executor:
        executor.execute_batch([partial(time.sleep, 0.01)] * 40)
        assert 0.009 <= limiter.margin <= 0.2
        executor.execute(partial(time.sleep, 0.15))
    # Less the shortest, up to the bound.
    assert 0.12 <= limiter.margin <= 0.2
    assert repr(limiter) == "RateLimiter(1000, per=10.0)"


def test_a_margin_that_is_given_stays() -> None:
    limiter = RateLimiter(1000, per=10, margin=0.1)
    with BatchExecutor(limiter, 2) as executor:
        executor.execute_batch([partial(time.sleep, 0.01)] * 20)
    assert limiter.margin == 0.1
    assert repr(limiter) == "RateLimiter(1000, per=10.0, margin=0.1)"


def test_a_call_that_runs_counts_for_the_bound_and_its_end_wakes_who_waits() -> None:
    """One that never ends holds up nobody for longer than that."""
    limiter = RateLimiter(1, per=1, margin=None)
    release, running = threading.Event(), threading.Event()

    def call() -> None:
        running.set()
        release.wait(20)

    with BatchExecutor(limiter, 1) as executor:
        began = time.monotonic()
        executor.submit(call)
        assert running.wait(20)
        wait = limiter.wait_time()
        assert 1.05 - (time.monotonic() - began) - 1e-3 <= wait <= 1.06
        # It may end at any moment, so nobody knows yet that this takes longer.
        assert not limiter.acquire(timeout=0.1)
        began = time.monotonic()
        assert limiter.acquire()
        assert time.monotonic() - began <= 5
        release.set()


@pytest.mark.parametrize("limit", [1, 3])
def test_short_windows_and_long_calls_go_on(limit: int) -> None:
    """Windows of 10 ms with calls of 20 ms, several executors, and whoever calls acquire()."""
    limiter = RateLimiter(limit, per=0.01)
    with eager_thread_switches(), ThreadPoolExecutor(4) as pool:
        with BatchExecutor(limiter, 4) as one, BatchExecutor(limiter, 2) as other:
            calls = [partial(time.sleep, 0.02)] * 20
            runs = [pool.submit(executor.run, calls) for executor in (one, other)]
            taken = [pool.submit(limiter.acquire, timeout=30) for _ in range(20)]
            assert all(run.result(60).counts["done"] == 20 for run in runs)
            assert all(each.result(60) for each in taken)


def test_combinations_nested_use_and_retries_learn_too() -> None:
    account, endpoint = RateLimiter(1000, per=10), RateLimiter(400, per=5)
    executor = BatchExecutor(account & endpoint, 2)

    def outer() -> int:
        return executor.execute(partial(int, "7"))

    with executor:
        assert executor.execute_batch([outer] * 40) == [7] * 40
    assert 0 < account.margin < 0.1
    assert 0 < endpoint.margin < 0.05


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_begins_with_the_limit_of_now_and_nothing_learnt() -> None:
    limiter = RateLimiter(2, per=60)
    with BatchExecutor(limiter, 1) as executor:
        executor.execute_batch([int] * 2)
    limiter.update(3, per=30)
    child = os.fork()
    if child == 0:
        free = [limiter.try_acquire() for _ in range(4)] == [True, True, True, False]
        os._exit(0 if free and limiter.margin == 0.25 and limiter.limit == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


# Limits that change


def test_an_update_is_seen_and_validated_as_a_new_one_is() -> None:
    limiter = RateLimiter(10, per=1, burst=5, margin=0.5, adaptive=True)
    limiter.update(20, per=2)
    assert (limiter.limit, limiter.per, limiter.effective_limit) == (20, 2.0, 20)
    assert repr(limiter) == "RateLimiter(20, per=2.0, burst=5, margin=0.5, adaptive=True)"
    update: Callable[..., None] = limiter.update
    refused: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((0, 1), ValueError, "limit must be at least 1, not 0"),
        ((4, 1), ValueError, "burst must be between 1 and the limit of 4, not 5"),
        ((5, 0), ValueError, "per must be at least a nanosecond"),
        ((5, float("nan")), ValueError, "per must be a finite number"),
        (("5/s", 1), TypeError, "limit must be an int"),
        ((5,), TypeError, "per"),
    ]
    for arguments, error, message in refused:
        with pytest.raises(error, match=message):
            update(*arguments)
    assert repr(limiter) == "RateLimiter(20, per=2.0, burst=5, margin=0.5, adaptive=True)"
    with pytest.raises(AttributeError, match="see its parts"):
        (limiter & RateLimiter(1, per=1)).update(5, per=1)


def test_an_update_lets_those_start_who_wait() -> None:
    limiter = RateLimiter(1, per=3600)
    assert limiter.try_acquire()
    with BatchExecutor(limiter, 4) as executor:
        futures = [executor.submit(int, "7") for _ in range(10)]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(limiter.acquire)
            while limiter.wait_time() < 3700:  # somebody stands in line
                time.sleep(0.01)
            limiter.update(1000, per=3600)
            assert waiting.result(30)
        assert [future.result(30) for future in futures] == [7] * 10


def test_who_waits_for_more_than_there_will_ever_be_is_told() -> None:
    limiter = RateLimiter(5, per=3600)
    assert limiter.try_acquire(5)
    with ThreadPoolExecutor(2) as pool:
        heavy = pool.submit(limiter.acquire, 4)
        while limiter.wait_time(5) < 3700:
            time.sleep(0.01)
        light = pool.submit(limiter.acquire, 1)
        limiter.update(3, per=0.1)
        with pytest.raises(ValueError, match="weight must be at most 3"):
            heavy.result(30)
        assert light.result(30)


def test_updates_from_many_threads_leave_a_limiter_that_works() -> None:
    limiter = RateLimiter(50, per=0.05)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            limiter.update(random.randint(1, 50), per=random.uniform(0.001, 0.05))

    with ThreadPoolExecutor(2) as pool, BatchExecutor(limiter, 4) as executor:
        changes = [pool.submit(change) for _ in range(2)]
        report = executor.run([partial(time.sleep, 0.001)] * 300, timeout=60)
        stop.set()
        for each in changes:
            each.result(30)
    assert report.counts["done"] == 300
