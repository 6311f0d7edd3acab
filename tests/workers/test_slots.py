"""Slot, then permit, then start: nothing queues between a permit and the start it was given for."""

from __future__ import annotations

import threading
import time
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from helpers import Gauge, Metronome, RecordingLimiter, statuses, worst_window

from paceline import BatchExecutor, RateLimiter

WORKERS = 4
RATE = 20


class StalledServer:
    """Its first calls take two seconds each, the others a millisecond."""

    def __init__(self, stalled: int) -> None:
        self.arrivals: list[float] = []
        self._stalled = stalled

    def call(self) -> None:
        self.arrivals.append(time.monotonic())
        time.sleep(2.0 if len(self.arrivals) <= self._stalled else 0.001)


@pytest.mark.parametrize("burst", [1, 5, None])
def test_a_stalled_server_that_recovers_sees_no_burst_behind_our_limiter(burst: int | None) -> None:
    server = StalledServer(WORKERS)
    with BatchExecutor(RateLimiter(RATE, per=1, burst=burst), max_workers=WORKERS) as executor:
        executor.execute_batch([server.call] * (WORKERS + 3 * RATE))
    assert len(server.arrivals) == WORKERS + 3 * RATE
    assert worst_window(server.arrivals, 1.0) <= RATE


def test_a_stalled_server_that_recovers_sees_no_burst_behind_a_foreign_metronome() -> None:
    server = StalledServer(WORKERS)
    with BatchExecutor(Metronome(1 / RATE), max_workers=WORKERS) as executor:
        executor.execute_batch([server.call] * (WORKERS + 3 * RATE))
    assert len(server.arrivals) == WORKERS + 3 * RATE
    # One interval of slack for the scheduler; permits piled up during the stall would double it.
    assert worst_window(server.arrivals, 1.0 - 1 / RATE) <= RATE


def test_submitted_operations_see_no_burst_either() -> None:
    server = StalledServer(WORKERS)
    with BatchExecutor(Metronome(1 / RATE), max_workers=WORKERS) as executor:
        futures = [executor.submit(server.call) for _ in range(WORKERS + 2 * RATE)]
        for future in futures:
            future.result(20)
    assert worst_window(server.arrivals, 1.0 - 1 / RATE) <= RATE


class SlotWatcher:
    """A limiter that notes how many operations run when it is asked."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self.seen: list[int] = []

    def acquire(self) -> None:
        self.seen.append(self._gauge.now)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream", "submit"])
def test_a_permit_is_only_asked_for_when_a_worker_is_free(workers: int, verb: str) -> None:
    gauge = Gauge()
    limiter = SlotWatcher(gauge)

    def operation(duration: float) -> None:
        with gauge.running():
            time.sleep(duration)

    operations = [partial(operation, 0.001 * (index % 4)) for index in range(80)]
    with BatchExecutor(limiter, workers) as executor:
        if verb == "submit":
            for future in [executor.submit(operation) for operation in operations]:
                future.result(20)
        else:
            assert len(list(getattr(executor, verb)(operations))) == 80
    assert len(limiter.seen) == 80
    assert max(limiter.seen) < workers
    assert gauge.most <= workers


def test_threads_sharing_an_executor_take_no_permit_without_a_slot() -> None:
    gauge = Gauge()
    limiter = SlotWatcher(gauge)

    def operation() -> None:
        with gauge.running():
            time.sleep(0.002)

    with BatchExecutor(limiter, 2) as executor:
        threads = [
            threading.Thread(target=executor.execute_batch, args=([operation] * 30,))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(limiter.seen) == 120
    assert max(limiter.seen) < 2
    assert gauge.most == 2


def test_one_worker_starts_in_input_order() -> None:
    started: list[int] = []
    with BatchExecutor(None, 1) as executor:
        executor.execute_batch([partial(started.append, index) for index in range(500)])
    assert started == list(range(500))


@pytest.mark.parametrize("limiter", [Metronome(0.005), RateLimiter(200, per=1, burst=1)])
def test_paced_operations_start_in_input_order(limiter: Any) -> None:
    started: list[int] = []
    with BatchExecutor(limiter, 6) as executor:
        executor.execute_batch([partial(started.append, index) for index in range(60)])
    assert started == list(range(60))


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
def test_start_stamps_follow_the_input(limiter: Any) -> None:
    with BatchExecutor(limiter, 6) as executor:
        report = executor.run([partial(time.sleep, 0.001 * (i % 3)) for i in range(100)])
    stamps = [outcome.started_at for outcome in report]
    late = sum(later < earlier for earlier, later in pairwise(stamps))
    # A worker may lose the processor between taking an operation and starting it.
    assert late <= 5


def fail() -> None:
    message = "no"
    raise ValueError(message)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("options", [{"on_error": "raise"}, {"max_failures": 3}])
def test_at_most_one_permit_is_lost_when_a_batch_ends_early(
    workers: int, options: dict[str, Any]
) -> None:
    gauge = Gauge()

    def operation(index: int) -> None:
        with gauge.running():
            if index % 7 == 6:
                fail()

    limiter = RecordingLimiter()
    with (
        BatchExecutor(limiter, workers) as executor,
        pytest.raises((ValueError, ExceptionGroup)) as caught,
    ):
        executor.execute_batch([partial(operation, index) for index in range(200)], **options)
    # Another worker may just ask, and nothing more starts.
    assert limiter.calls - gauge.entered in range(2 if workers > 1 else 1)
    report = caught.value.batch_report  # type: ignore[union-attr]
    assert 200 - statuses(report).count("not_started") == gauge.entered
    assert report.permits == gauge.entered


def test_no_native_permit_is_lost_when_a_batch_ends_early() -> None:
    limiter = RateLimiter(10, per=60)
    gauge = Gauge()

    def operation() -> None:
        with gauge.running():
            fail()

    with BatchExecutor(limiter, 1) as executor, pytest.raises(ValueError, match="no"):
        executor.execute_batch([operation] * 10, on_error="raise")
    left = sum(limiter.try_acquire() for _ in range(20))
    assert gauge.entered == 1
    assert left == 9


def test_a_batch_that_times_out_waiting_takes_no_permit() -> None:
    limiter = RateLimiter(2, per=1)
    with BatchExecutor(limiter, 4) as executor, pytest.raises(TimeoutError):
        executor.run([int] * 5, timeout=0.3)
    time.sleep(1.1)
    assert limiter.try_acquire()
    assert limiter.try_acquire()
    assert not limiter.try_acquire()
