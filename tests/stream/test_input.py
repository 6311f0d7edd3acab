"""`stream` reads its input only as fast as outcomes are taken."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from childprocess import run_script
from helpers import Gauge, RecordingLimiter, wait_until
from observing import PATIENCE, stays
from streaming import Source, assert_nothing_is_lost, consume, naps, numbers

from paceline import BatchExecutor, Outcome, RateLimiter


def raise_value_error(n: int) -> None:
    raise ValueError(f"operation {n}")


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("buffersize", [1, 2, 5, 64])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_input_is_never_read_further_than_the_bound(
    workers: int, buffersize: int, ordered: bool
) -> None:
    source = Source(numbers(600), bound=workers + buffersize)
    with BatchExecutor(max_workers=workers) as executor:
        for outcome in executor.stream(source, ordered=ordered, buffersize=buffersize):
            source.handed_over += 1
            if outcome.index % 97 == 0:
                time.sleep(0.002)
    assert (source.read, source.handed_over) == (600, 600)
    assert source.furthest >= min(2, buffersize), "it does read ahead"


@pytest.mark.parametrize("ordered", [False, True])
def test_the_bound_holds_with_slow_and_failing_operations(ordered: bool) -> None:
    def work(n: int) -> int:
        if n % 7 == 0:
            time.sleep(0.01)
        if n % 5 == 0:
            raise_value_error(n)
        return n

    source = Source((functools.partial(work, n) for n in range(150)), bound=3 + 4)
    with BatchExecutor(RecordingLimiter(), max_workers=3) as executor:
        for _ in executor.stream(source, ordered=ordered, buffersize=4):
            source.handed_over += 1
    assert source.read == 150


def test_the_smallest_buffer_still_keeps_every_worker_busy() -> None:
    together = threading.Barrier(4)
    operations = (functools.partial(together.wait, PATIENCE) for _ in range(40))
    with BatchExecutor(max_workers=4) as executor:
        assert len(list(executor.stream(operations, buffersize=1))) == 40


def test_the_default_reads_no_more_than_three_times_the_workers_ahead() -> None:
    workers = 3
    source = Source(naps(0.002, 150), bound=workers + 2 * workers + 1)
    with BatchExecutor(max_workers=workers) as executor:
        for _ in executor.stream(source):
            source.handed_over += 1
    assert source.read == 150


def closures() -> Iterator[Callable[[], int]]:
    return ((lambda n=n: n) for n in range(60_000))


def partials_of_methods() -> Iterator[Callable[[], str]]:
    return (functools.partial(str(n).join, ()) for n in range(60_000))


@pytest.mark.parametrize(
    ("operations", "threshold", "most"),
    [
        (closures, 700, 315),
        (closures, 2000, 900),
        (closures, 50_000, 1024),
        (closures, 0, 1024),
        (closures, 1, 2 * 2 + 1),
        (partials_of_methods, 700, 315),
        # Of these nothing is held that the collector would look at.
        (lambda: numbers(60_000), 700, 1024),
        (lambda: numbers(60_000), 1, 1024),
    ],
)
def test_the_default_reads_far_ahead_only_of_quick_operations(
    operations: Callable[[], Iterator[Callable[[], Any]]], threshold: int, most: int
) -> None:
    workers = 2
    source = Source(operations(), bound=workers + most)
    thresholds = gc.get_threshold()
    gc.set_threshold(threshold, *thresholds[1:])
    try:
        with BatchExecutor(max_workers=workers) as executor:
            for _ in executor.stream(source):
                source.handed_over += 1
    finally:
        gc.set_threshold(*thresholds)
    assert source.read == 60_000
    assert most / 2 < source.furthest


def test_the_default_comes_back_when_operations_become_slow() -> None:
    workers = 2
    source = Source(itertools.chain(numbers(20_000), naps(0.003)))
    with BatchExecutor(max_workers=workers) as executor:
        outcomes = executor.stream(source)
        for _ in range(20_000 + 1500):
            next(outcomes)
            source.handed_over += 1
        source.furthest = 0
        for _ in range(50):
            next(outcomes)
            source.handed_over += 1
        assert source.furthest <= workers + 2 * workers + 1
        outcomes.close()


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(1000, per=0.01)])
def test_the_input_is_read_on_the_consumers_thread_only(limiter: Any) -> None:
    source = Source(numbers(500))
    with BatchExecutor(limiter, max_workers=3) as executor:
        for _ in executor.stream(source, buffersize=3):
            pass
    assert source.threads == {threading.get_ident()}


def test_a_stream_may_move_to_another_thread() -> None:
    source = Source(numbers(500))
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(source, buffersize=3)
        first = list(itertools.islice(outcomes, 10))
        source.threads.clear()
        rest: list[Outcome[int]] = []
        consumer = threading.Thread(target=lambda: rest.extend(outcomes))
        consumer.start()
        consumer.join(PATIENCE)
    assert sorted(outcome.index for outcome in first + rest) == list(range(500))
    assert source.threads == {consumer.ident}


def test_a_sleeping_consumer_stops_the_starts() -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    source = Source(itertools.repeat(work), bound=2 + 5)
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(source, buffersize=5)
        for _ in range(3):
            next(outcomes)
            source.handed_over += 1
        wait_until(lambda: gauge.entered == source.read)
        assert stays(lambda: (source.read, gauge.entered))
        assert source.read - source.handed_over <= 2 + 5
        outcomes.close()


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_list_is_read_no_further_ahead_than_anything_else(kind: Any, ordered: bool) -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    with BatchExecutor(max_workers=2) as executor:
        executor.execute_batch([int] * 20)  # so that there are workers who wait for something
        outcomes = executor.stream(kind([work] * 500), buffersize=1, ordered=ordered)
        assert stays(lambda: gauge.entered)
        assert gauge.entered == 0, "it has started though nobody has asked for an outcome"
        for handed_over in range(1, 6):
            next(outcomes)
            assert stays(lambda: gauge.entered, seconds=0.05)
            assert gauge.entered <= handed_over + 2 + 1
        assert len(list(outcomes)) == 495


def test_what_was_not_read_of_a_list_is_in_the_report() -> None:
    def leave() -> None:
        raise SystemExit(3)

    operations = [*numbers(20), leave, *numbers(979)]
    with BatchExecutor(max_workers=2) as executor:
        handed_over, error = consume(executor.stream(operations, buffersize=4))
        assert isinstance(error, SystemExit)
        report = error.batch_report  # type: ignore[attr-defined]
        assert_nothing_is_lost(handed_over, report, 1000)
        assert report.counts["not_started"] > 900


def test_changing_a_list_later_changes_no_stream() -> None:
    operations: list[Any] = list(numbers(100))
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(operations, ordered=True)
        operations[:] = ["no operation"] * 5
        assert [outcome.value for outcome in outcomes] == list(range(100))


def test_a_slow_input_does_not_hold_finished_outcomes_back() -> None:
    """An outcome that is ready is handed over before an input that blocks is asked for more."""

    def trickle() -> Iterator[Callable[[], int]]:
        for n in range(5):
            time.sleep(0.15)
            yield functools.partial(int, n)

    came_at = []
    began = time.monotonic()
    with BatchExecutor(max_workers=2) as executor:
        for _ in executor.stream(trickle(), buffersize=100):
            came_at.append(time.monotonic() - began)
    assert len(came_at) == 5
    assert came_at[0] < 0.55, "the first came before the whole input had been read"


def test_an_endless_input_runs_in_constant_memory() -> None:
    ended = run_script(
        """
        import itertools, json, resource
        from paceline import BatchExecutor

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        executor = BatchExecutor(max_workers=4)
        outcomes = executor.stream(iter(lambda: int, None))
        for _ in itertools.islice(outcomes, 30_000):
            pass
        before = peak()
        for _ in itertools.islice(outcomes, 200_000):
            pass
        grown = peak() - before
        outcomes.close()
        executor.shutdown()
        print(json.dumps(grown if sys.platform != "darwin" else grown // 1024))
        """,
        timeout=50,
    ).assert_silent()
    assert json.loads(ended.stdout) <= 8 * 1024, f"{ended.stdout.strip()} KiB more"
