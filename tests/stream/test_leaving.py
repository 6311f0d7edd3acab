"""Leaving a `stream` early stops its batch, without waiting."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Gauge, RecordingLimiter, event_of, statuses, wait_until
from observing import PATIENCE, GatedLimiter, stays
from streaming import Running, most_ahead, numbers

from paceline import BatchExecutor, RateLimiter


def raise_lookup_error() -> None:
    raise LookupError("no such row")


def leave_by_break(executor: BatchExecutor, running: Running) -> None:
    for _ in executor.stream(running.operations(), buffersize=6):
        break


def leave_by_exception(executor: BatchExecutor, running: Running) -> None:
    def consume() -> None:
        for _ in executor.stream(running.operations(), buffersize=6):
            raise LookupError("in the consumer")

    with pytest.raises(LookupError, match="in the consumer"):
        consume()


def leave_by_close(executor: BatchExecutor, running: Running) -> None:
    outcomes = executor.stream(running.operations(), buffersize=6)
    next(outcomes)
    outcomes.close()
    outcomes.close()
    with pytest.raises(StopIteration):
        next(outcomes)


def leave_by_del(executor: BatchExecutor, running: Running) -> None:
    outcomes = executor.stream(running.operations(), buffersize=6)
    next(outcomes)
    del outcomes


def leave_by_garbage_collection(executor: BatchExecutor, running: Running) -> None:
    class Holder: ...

    holder = Holder()
    holder.itself = holder  # type: ignore[attr-defined]
    holder.outcomes = executor.stream(running.operations(), buffersize=6)  # type: ignore[attr-defined]
    next(holder.outcomes)  # type: ignore[attr-defined]
    del holder
    gc.collect()


@pytest.mark.parametrize(
    "leave",
    [
        leave_by_break,
        leave_by_exception,
        leave_by_close,
        leave_by_del,
        leave_by_garbage_collection,
    ],
)
def test_leaving_stops_the_batch_without_waiting(
    leave: Callable[[BatchExecutor, Running], None],
) -> None:
    running = Running()
    executor = BatchExecutor(max_workers=2)
    try:
        began = time.monotonic()
        leave(executor, running)
        assert time.monotonic() - began < 2, "running operations were waited for"
        in_flight = running.gauge.now
        assert in_flight <= 2
        running.assert_nothing_more_starts()
        running.release.set()
        # Those that were running finish, and the slots they leave start nothing of this batch.
        for _ in range(in_flight):
            assert running.ended.acquire(timeout=PATIENCE)
        running.assert_nothing_more_starts()
        assert executor.execute_batch(list(numbers(10))) == list(range(10))
    finally:
        running.release.set()
        executor.shutdown()


def test_leaving_gives_permits_back_to_others() -> None:
    limiter = RateLimiter(2, per=600)
    executor = BatchExecutor(limiter, max_workers=2)
    outcomes = executor.stream(numbers(), buffersize=4)
    next(outcomes)
    next(outcomes)
    outcomes.close()
    assert not limiter.try_acquire(), "both permits were used"
    # Nobody waits for a third, or this would take ten minutes.
    executor.shutdown()


def test_leaving_while_a_foreign_limiter_is_asked() -> None:
    limiter = GatedLimiter()
    executor = BatchExecutor(limiter, max_workers=2)
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    outcomes = executor.stream(itertools.repeat(work), buffersize=4)
    box: list[Any] = []
    consumer = threading.Thread(target=lambda: box.append(next(outcomes, None)), daemon=True)
    consumer.start()
    wait_until(lambda: limiter.asked)
    limiter.gate.set()
    consumer.join(PATIENCE)
    assert box[0].status == "done"
    outcomes.close()
    assert stays(lambda: gauge.entered)
    executor.shutdown()


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
def test_leaving_again_and_again_never_stalls_the_next(limiter: Any) -> None:
    executor = BatchExecutor(limiter, max_workers=2)
    until = time.monotonic() + 4

    def leave_often() -> None:
        while time.monotonic() < until:
            next(executor.stream([raise_lookup_error] * 3, buffersize=1))

    logging.getLogger("paceline").disabled = True
    try:
        thread = threading.Thread(target=leave_often, daemon=True)
        thread.start()
        thread.join(4 + PATIENCE)
        assert not thread.is_alive()
    finally:
        logging.getLogger("paceline").disabled = False
        executor.shutdown(wait=False)


def test_a_stream_never_iterated_lets_go() -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    executor = BatchExecutor(max_workers=2)
    executor.stream(itertools.repeat(work))
    assert stays(lambda: gauge.entered)
    assert gauge.entered <= 2 + most_ahead()
    executor.shutdown()


# What is left is told


def test_the_report_of_a_stream_that_was_left_tells_of_what_was_not_handed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "paceline")
    running = Running()

    def fail_beside_others() -> None:
        wait_until(lambda: running.gauge.entered == 3)
        raise_lookup_error()

    operations = [fail_beside_others, *itertools.islice(running.operations(), 20)]
    with BatchExecutor(max_workers=3) as executor:
        outcomes = executor.stream(operations, buffersize=4, ordered=True)
        assert isinstance(next(outcomes).exception, LookupError)
        with pytest.raises(RuntimeError, match="not ended: take all its outcomes, or close it"):
            outcomes.report()
        outcomes.close()
        report = outcomes.report()
        running.release.set()
    assert outcomes.report() is report
    assert report.ended_by == "consumer"
    assert [outcome.index for outcome in report] == list(range(1, 21))
    assert statuses(report[:3]) == ["done", "running", "running"]
    assert set(statuses(report[4:])) == {"not_started"}
    assert (report.counts["done"], report.counts["failed"]) == (1, 1)
    assert sum(report.counts.values()) == len(operations)
    (line,) = (record for record in caplog.records if event_of(record) == "batch_ended")
    assert vars(line)["ended_by"] == "consumer"


def test_the_report_of_a_stream_that_nobody_began_tells_of_nothing_done() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream([int] * 7)
        outcomes.close()
        assert list(outcomes) == []
    assert outcomes.report().ended_by == "consumer"
    assert statuses(outcomes.report()) == ["not_started"] * 7


def test_the_report_of_a_whole_stream_has_its_totals_and_no_outcomes() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream([*numbers(50), raise_lookup_error])
        assert len(list(outcomes)) == 51
    outcomes.close()
    report = outcomes.report()
    assert report.ended_by == "completed"
    assert (report.counts["done"], report.counts["failed"], report.permits) == (50, 1, 51)
    assert list(report) == []
    # Nobody is to take that for "nothing failed".
    with pytest.raises(RuntimeError, match="1 operations failed, which were handed"):
        report.raise_for_failures()
    with pytest.raises(RuntimeError, match="handed over"):
        report.values()


def test_the_values_of_a_stream_are_not_in_its_report() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(numbers(50))
        assert len(list(outcomes)) == 50
    outcomes.report().raise_for_failures()
    with pytest.raises(RuntimeError, match="50 values are not here: they were handed"):
        outcomes.report().values()


def test_the_report_of_a_stream_that_was_ended_is_that_of_its_exception() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream([raise_lookup_error] * 9, max_failures=2)
        with pytest.raises(ExceptionGroup) as caught:
            list(outcomes)
    assert outcomes.report() is caught.value.batch_report  # type: ignore[attr-defined]
