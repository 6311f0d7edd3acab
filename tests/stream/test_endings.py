"""Ends of a `stream` that raise, with everything in the report."""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from helpers import paceline_notes, statuses, wait_until
from observing import PATIENCE
from streaming import Running, Source, assert_nothing_is_lost, consume, naps, numbers

from paceline import BatchExecutor, BatchTimeoutError
from paceline._input import Input


def raise_value_error(n: int) -> None:
    raise ValueError(f"operation {n}")


def test_timeout_raises_without_waiting() -> None:
    running = Running()
    source = Source(running.operations())
    executor = BatchExecutor(max_workers=2)
    try:
        began = time.monotonic()
        handed_over, error = consume(executor.stream(source, timeout=0.5, buffersize=3))
        assert 0.45 < time.monotonic() - began < 5
        assert isinstance(error, BatchTimeoutError)
        assert isinstance(error, TimeoutError)
        report = error.batch_report
        assert report.ended_by == "timeout"
        assert_nothing_is_lost(handed_over, report, source.read)
        assert report.counts["running"] == 2
        assert len(paceline_notes(error)) == 1
        running.assert_nothing_more_starts()
    finally:
        running.release.set()
        executor.shutdown()


def test_timeout_passes_while_the_consumer_is_away() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(naps(0.01), timeout=0.2)
        next(outcomes)
        time.sleep(0.4)
        with pytest.raises(BatchTimeoutError):
            for _ in range(1000):
                next(outcomes)


@pytest.mark.parametrize("ordered", [False, True])
def test_max_failures_ends_the_stream(ordered: bool) -> None:
    def work(n: int) -> int:
        time.sleep(0.001)
        if n % 4 == 3:
            raise_value_error(n)
        return n

    source = Source(functools.partial(work, n) for n in itertools.count())
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(source, max_failures=5, ordered=ordered, buffersize=3)
        handed_over, error = consume(outcomes)
        assert isinstance(error, ExceptionGroup)
        assert all(isinstance(each, ValueError) for each in error.exceptions)
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "max_failures"
        assert 5 <= report.counts["failed"] <= 5 + 1
        # The failures that were handed over are the consumer's already; the message counts all.
        assert len(error.exceptions) == statuses(report).count("failed") >= 1
        assert error.message.startswith(f"{report.counts['failed']} of {source.read} ")
        assert_nothing_is_lost(handed_over, report, source.read)
        # This end waits for what was running.
        assert report.counts.get("running", 0) == 0
        with pytest.raises(StopIteration):
            next(outcomes)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_share_of_failures_that_were_all_handed_over_ends_the_stream(ordered: bool) -> None:
    operations = [functools.partial(raise_value_error, n) for n in range(2)] + [*numbers(9)]
    with BatchExecutor(max_workers=1) as executor:
        outcomes = executor.stream(operations, max_failures=(0.5, 4), ordered=ordered, buffersize=1)
        handed_over, error = consume(outcomes)
    assert statuses(handed_over)[:2] == ["failed"] * 2
    assert isinstance(error, ExceptionGroup)
    # A group is never empty: the last of them stands for all.
    assert error.exceptions == (handed_over[1].exception,)
    report = error.batch_report  # type: ignore[attr-defined]
    assert report.ended_by == "max_failures"
    total = sum(report.counts.values())
    expected = f"2 of {total} operations failed, 2 of which were handed over before"
    assert error.message == expected
    assert_nothing_is_lost(handed_over, report, total)


@pytest.mark.parametrize("after", [0, 1, 5, 200])
def test_an_input_that_raises_ends_the_stream_with_everything_in_the_report(after: int) -> None:
    def broken() -> Iterator[Callable[[], int]]:
        yield from numbers(after)
        raise LookupError("the input is broken")

    with BatchExecutor(max_workers=2) as executor:
        handed_over, error = consume(executor.stream(broken(), buffersize=4))
        assert isinstance(error, LookupError)
        assert str(error) == "the input is broken"
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "input"
        assert_nothing_is_lost(handed_over, report, after)
        assert report.counts.get("running", 0) == 0
        assert len(paceline_notes(error)) == 1


def test_a_limiter_that_raises_ends_the_stream() -> None:
    class Down:
        def __init__(self) -> None:
            self.calls = 0

        def acquire(self) -> None:
            self.calls += 1
            if self.calls > 10:
                raise ConnectionError("limiter is down")

    source = Source(numbers())
    with BatchExecutor(Down(), max_workers=2) as executor:
        handed_over, error = consume(executor.stream(source, buffersize=4))
        assert isinstance(error, ConnectionError)
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "limiter"
        assert_nothing_is_lost(handed_over, report, source.read)
        assert report.counts["done"] == 10
        assert report.counts["not_started"] == source.read - 10


def test_system_exit_in_an_operation_ends_the_stream() -> None:
    def leave() -> None:
        raise SystemExit(3)

    source = Source(itertools.chain(numbers(20), [leave], numbers()))
    with BatchExecutor(max_workers=2) as executor:
        handed_over, error = consume(executor.stream(source, buffersize=4))
        assert isinstance(error, SystemExit)
        assert error.code == 3
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "operation"
        assert_nothing_is_lost(handed_over, report, source.read)


def test_shutdown_with_cancel_futures_ends_a_stream_of_another_thread() -> None:
    running = Running()
    source = Source(running.operations())
    executor = BatchExecutor(max_workers=2)
    box: list[Any] = []
    consumer = threading.Thread(
        target=lambda: box.append(consume(executor.stream(source, buffersize=4))), daemon=True
    )
    consumer.start()
    wait_until(lambda: running.gauge.now == 2 and source.read == 7)
    executor.shutdown(wait=False, cancel_futures=True)
    running.release.set()
    consumer.join(PATIENCE)
    handed_over, error = box[0]
    report = error.batch_report
    assert report.ended_by == "shutdown"
    assert_nothing_is_lost(handed_over, report, source.read)
    assert report.counts["cancelled"] >= 1


READING = Input.read.__code__


@pytest.mark.parametrize("line", sorted({line for *_, line in READING.co_lines() if line})[1:])
def test_what_is_raised_at_any_line_of_the_reading_loses_nothing(line: int) -> None:
    """Many are read in one go meanwhile. Tools that trace a program may raise so."""
    source = Source(numbers(20_000))

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code is not READING:
            return None
        if event == "line" and frame.f_lineno == line and source.read > 5000:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    with BatchExecutor(None, 3) as executor:
        sys.settrace(trace)
        try:
            handed_over, error = consume(executor.stream(source))
        finally:
            sys.settrace(former)
    assert isinstance(error, KeyboardInterrupt)
    assert_nothing_is_lost(handed_over, error.batch_report, source.read)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("buffersize", [None, 2])
def test_max_failures_reports_what_was_not_read_of_a_list(
    ordered: bool, buffersize: int | None
) -> None:
    def fails() -> None:
        raise ValueError

    with BatchExecutor(max_workers=1) as executor:
        outcomes = executor.stream(
            [fails] * 60, max_failures=3, ordered=ordered, buffersize=buffersize
        )
        handed_over, error = consume(outcomes)
        report = error.batch_report  # type: ignore[union-attr]
        assert_nothing_is_lost(handed_over, report, 60)
        assert report.counts["failed"] == 3
        assert report.counts["not_started"] == 57
