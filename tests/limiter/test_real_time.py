"""A RateLimiter measured on the real clock, where operations start."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from counting import counting_server
from reference import lateness, plain_pace

from paceline import RateLimiter

# Two shared cores may hold a thread up between its permit and its stamp: the limiters under test
# keep their windows this much longer than they are measured.
NOISE = 0.05
# What a noisy machine may add to a run that a quiet one ends within 3 % and 0.2 s of the least.
SLACK = 0.6


class Start(NamedTuple):
    time: float
    weight: int


class Recorder:
    """Takes permits and writes down when what they permit starts."""

    def __init__(self, limiter: RateLimiter) -> None:
        self.limiter = limiter
        self.starts: list[Start] = []

    def start(self, weight: int = 1) -> None:
        self.limiter.acquire(weight)
        self.starts.append(Start(time.monotonic(), weight))

    def start_many(self, count: int) -> None:
        self.start_all([1] * count)

    def start_all(self, weights: Iterable[int]) -> None:
        for weight in weights:
            self.start(weight)


def worst_window(starts: Sequence[Start], per: float) -> int:
    """The most that started in any stretch of `per` seconds."""
    ordered = sorted(starts)
    times = [start.time for start in ordered]
    sums = [0, *itertools.accumulate(start.weight for start in ordered)]
    return max(
        sums[bisect_left(times, begin + per)] - sums[first] for first, begin in enumerate(times)
    )


def elapsed(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def in_threads(count: int, act: Callable[[], object]) -> None:
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(act) for _ in range(count)]:
            future.result()


def test_the_measure_itself_finds_an_overfull_window() -> None:
    starts = [Start(time, 1) for time in (0.0, 0.5, 0.6, 1.4, 1.5)]
    assert worst_window(starts, 1.01) == 4
    assert worst_window(starts, 1.0) == 3
    assert worst_window(starts, 0.9) == 3
    assert worst_window([Start(0.0, 3), Start(0.5, 2), Start(1.0, 4)], 1.0) == 6


@pytest.mark.parametrize("threads", [1, 5, 16])
def test_no_window_holds_more_than_the_limit(threads: int) -> None:
    recorder = Recorder(RateLimiter(48, per=0.4, margin=NOISE))
    with lateness() as late:
        took = elapsed(lambda: in_threads(threads, lambda: recorder.start_many(240 // threads)))
    assert worst_window(recorder.starts, 0.4) <= 48
    least = (len(recorder.starts) / 48 - 1) * (0.4 + NOISE)
    assert least - NOISE <= took <= least * 1.03 + SLACK + 4 * late.seconds


def test_idling_saves_nothing_up() -> None:
    recorder = Recorder(RateLimiter(40, per=0.4, margin=NOISE))
    for idle in (0.0, 0.3, 0.45, 0.2, 1.0):
        time.sleep(idle)
        recorder.start_many(40)
    assert worst_window(recorder.starts, 0.4) <= 40


def test_weights_fill_the_window_as_so_many_permits() -> None:
    recorder = Recorder(RateLimiter(20, per=0.3, margin=NOISE))
    weights = itertools.cycle([1, 7, 2, 20, 3])
    took = elapsed(lambda: in_threads(4, lambda: recorder.start_all(itertools.islice(weights, 10))))
    assert worst_window(recorder.starts, 0.3) <= 20
    # The heaviest waits for an empty window, and that costs those behind it: but no more than
    # a window for each.
    assert took <= len(recorder.starts) * (0.3 + NOISE)


def test_several_windows_at_once() -> None:
    fast, slow = RateLimiter(10, per=0.1, margin=NOISE), RateLimiter(50, per=1, margin=NOISE)
    both, alone = Recorder(fast & slow), Recorder(slow)

    def start() -> None:
        both.start_many(20)
        alone.start_many(10)

    with lateness() as late:
        took = elapsed(lambda: in_threads(4, start))
    assert worst_window(both.starts, 0.1) <= 10
    assert worst_window(both.starts + alone.starts, 1.0) <= 50
    assert took <= 2 * (1 + NOISE) * 1.03 + 0.1 + SLACK + 4 * late.seconds


@pytest.mark.parametrize(("rate", "seconds"), [(50, 1), (1000, 0.5)])
def test_a_metronome_reaches_its_rate_and_no_more(rate: int, seconds: float) -> None:
    count = int(rate * seconds)

    def achieved() -> float:
        recorder = Recorder(RateLimiter(rate, per=1, burst=1, margin=0))
        recorder.start_many(count + 1)
        return count / (recorder.starts[-1].time - recorder.starts[0].time)

    # By turns, as the machine is not as punctual at all times.
    ours, plain = zip(*((achieved(), plain_pace(rate, count)) for _ in range(4)), strict=True)
    assert max(ours) <= 1.01 * rate
    assert max(ours) >= 0.85 * max(plain), (ours, plain)


def test_a_burst_goes_at_once_and_the_rest_in_step() -> None:
    recorder = Recorder(RateLimiter(40, per=2, burst=5))
    recorder.start_many(15)
    times = [start.time - recorder.starts[0].time for start in recorder.starts]
    assert times[4] < 0.1
    for place, reached in enumerate(times[5:], 1):
        # Lateness is made up for, so that later starts come neither earlier nor later for it.
        assert place * 0.05 - 0.025 <= reached <= place * 0.05 + 0.3


def test_a_paced_limiter_is_not_slowed_by_threads_that_hold_the_interpreter() -> None:
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    def achieved() -> float:
        recorder = Recorder(RateLimiter(50, per=1, burst=1, margin=0))
        recorder.start_many(51)
        return 50 / (recorder.starts[-1].time - recorder.starts[0].time)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        # Every start waits for the interpreter, usually for 5 ms of an interval of 20 ms; so does
        # every plain sleep.
        ours, plain = zip(*((achieved(), plain_pace(50, 50)) for _ in range(3)), strict=True)
    finally:
        stop.set()
        thread.join()
    assert max(ours) >= 0.9 * max(plain), (ours, plain)


def test_waiting_costs_next_to_nothing() -> None:
    limiter = RateLimiter(50, per=1, burst=1)
    before = time.process_time()
    took = elapsed(lambda: [limiter.acquire() for _ in range(60)])
    assert time.process_time() - before <= 0.15 * took


def count_for(seconds: float) -> int:
    """How far a plain Python loop comes."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
    return count


@pytest.mark.parametrize("waiters", [1, 8])
def test_other_threads_run_at_full_speed_while_some_wait(waiters: int) -> None:
    alone = beside = 0
    for _ in range(8):  # by turns, as this machine is not as fast at all times
        alone = max(alone, count_for(0.1))
        limiter = RateLimiter(100, per=1)
        limiter.pause(0.3)
        threads = [threading.Thread(target=limiter.acquire) for _ in range(waiters)]
        for thread in threads:
            thread.start()
        count = count_for(0.1)
        if all(thread.is_alive() for thread in threads):
            beside = max(beside, count)
        for thread in threads:
            thread.join()
    assert beside >= 0.6 * alone


def test_contention_does_not_make_a_permit_dear() -> None:
    def cost(threads: int) -> float:
        limiter = RateLimiter(10**9, per=1)
        calls = 40_000 // threads
        return elapsed(
            lambda: in_threads(threads, lambda: [limiter.acquire() for _ in range(calls)])
        )

    alone = min(cost(1) for _ in range(5))
    together = min(cost(8) for _ in range(5))
    assert together <= 4 * alone + 0.02


def test_a_window_of_very_many_permits_is_workable() -> None:
    limiter = RateLimiter(300_000, per=1.0, margin=0)
    took = elapsed(lambda: [limiter.acquire() for _ in range(300_000)])
    assert took < 10
    assert elapsed(lambda: limiter.wait_time(300_000)) < 0.2
    assert limiter.acquire(300_000, timeout=10)
    assert not limiter.try_acquire()


class Run(NamedTuple):
    """How 16 threads fared that shared a limiter."""

    refused: int
    seconds: float
    # Between the shortest and the longest way from a permit to the server, in seconds.
    variation: float


def run_of(requests: int, limiter: RateLimiter) -> Run:
    left = iter(range(requests))
    answers: list[int] = []
    delays: list[float] = []

    def work(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.connect()
        for _ in left:
            limiter.acquire()
            connection.request("GET", f"/{time.monotonic()}")
            with connection.getresponse() as response:
                answers.append(response.status)
                delays.append(float(response.headers["Delay"]))
        connection.close()

    with counting_server() as port:
        seconds = elapsed(lambda: in_threads(16, lambda: work(port)))
    assert len(answers) == requests
    return Run(answers.count(429), seconds, max(delays) - min(delays))


def test_a_server_that_counts_arrivals_refuses_nothing() -> None:
    run = run_of(300, RateLimiter(100, per=1, margin=0.1))
    assert run.refused == 0, run
    assert run.seconds <= 2 * 1.1 + 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_refuses_nothing_while_its_distance_varies_by_less_than_the_margin() -> None:
    """The default margin is 10 ms here. A machine that stands still for as long proves nothing."""
    runs: list[Run] = []
    steady: list[Run] = []
    while len(steady) < 10 and len(runs) < 40:
        runs.append(run_of(500, RateLimiter(100, per=1)))
        steady = [run for run in runs if run.variation <= 0.005]
    assert len(steady) >= 3, f"the machine is not steady enough for this test: {runs}"
    assert all(run.refused == 0 for run in steady), runs
    # The first 100 at once, then 100 a second, and the last answer.
    assert min(run.seconds for run in runs) <= (4 + 0.02) * 1.05 + 0.1, runs
