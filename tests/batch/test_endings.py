"""Whatever ends a batch early, nothing more starts and nothing that is known is lost."""

from __future__ import annotations

import math
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from helpers import (
    Metronome,
    RecordingLimiter,
    in_thread,
    paceline_notes,
    statuses,
    wait_until,
)

from paceline import BatchExecutor, BatchReport, BatchTimeoutError, RateLimiter


class Refused(Exception):
    """What a failing operation raises in these tests."""


def refuse() -> None:
    message = "refused"
    raise Refused(message)


def report_of(error: BaseException) -> BatchReport[Any]:
    """The report that ``error`` carries, with what holds for every report checked."""
    report = error.batch_report  # type: ignore[attr-defined]
    assert isinstance(report, BatchReport)
    assert [outcome.index for outcome in report] == list(range(len(report)))
    assert sum(report.counts.values()) == len(report)
    for status, count in report.counts.items():
        assert statuses(report).count(status) == count
    (note,) = paceline_notes(error)
    for status in set(statuses(report)):
        assert re.search(rf"\b{statuses(report).count(status)}\b", note), (status, note)
    return report


class Operations:
    """Operations that hold their worker until released, and count their starts."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started: list[int] = []
        self.finished: list[int] = []

    def hold(self, index: int) -> int:
        self.started.append(index)
        assert self.gate.wait(30)
        self.finished.append(index)
        return index


# timeout


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
def test_a_timeout_does_not_wait_for_operations_that_run(verb: str) -> None:
    operations = Operations()
    with BatchExecutor(None, 3) as executor:
        began = time.monotonic()
        with pytest.raises(BatchTimeoutError) as caught:
            list(
                getattr(executor, verb)(
                    [partial(operations.hold, index) for index in range(8)], timeout=0.3
                )
            )
        assert 0.29 <= time.monotonic() - began < 5
        report = report_of(caught.value)
        assert statuses(report) == ["running"] * 3 + ["not_started"] * 5
        assert report.ended_by == "timeout"
        operations.gate.set()
    assert sorted(operations.started) == sorted(operations.finished) == [0, 1, 2]
    # The report says what was known when it was made, and goes on saying so.
    assert statuses(report) == ["running"] * 3 + ["not_started"] * 5


def test_a_timeout_error_is_a_timeout_error_that_says_how_long() -> None:
    with (
        BatchExecutor(RateLimiter(1, per=60), 2) as executor,
        pytest.raises(TimeoutError, match=r"0\.25") as caught,
    ):
        executor.run([int] * 3, timeout=0.25)
    assert isinstance(caught.value, BatchTimeoutError)
    assert statuses(report_of(caught.value)) == ["done", "not_started", "not_started"]


def test_a_timeout_error_of_an_operation_is_not_taken_for_that_of_the_batch() -> None:
    def time_out() -> None:
        message = "the socket's"
        raise TimeoutError(message)

    with BatchExecutor() as executor:
        report = executor.run([time_out, int], timeout=10)
    assert statuses(report) == ["failed", "done"]
    assert report.ended_by == "completed"


def test_a_timeout_counts_the_time_spent_in_the_input() -> None:
    def slow_input() -> Iterator[Callable[[], int]]:
        for _ in range(100):
            time.sleep(0.05)
            yield int

    with BatchExecutor() as executor:
        began = time.monotonic()
        with pytest.raises(BatchTimeoutError) as caught:
            executor.run(slow_input(), timeout=0.3)
        assert time.monotonic() - began < 3
    assert 1 <= len(report_of(caught.value)) < 50


def test_a_batch_that_makes_its_timeout_is_untouched_by_it() -> None:
    with BatchExecutor() as executor:
        assert executor.execute_batch([int] * 10, timeout=30) == [0] * 10
        assert executor.execute_batch([int] * 10, timeout=10**9) == [0] * 10


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        *((number, ValueError) for number in (-1, -0.001, math.nan, 1e10, 10**400, math.inf)),
        (timedelta(seconds=-1), ValueError),
        *((other, TypeError) for other in ("1", True, object())),
    ],
)
@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream", "map"])
def test_a_bad_timeout_is_refused_by_name(verb: str, timeout: Any, error: type[Exception]) -> None:
    ran: list[int] = []
    arguments = [ran.append, [1]] if verb == "map" else [[partial(ran.append, 1)]]
    with BatchExecutor() as executor, pytest.raises(error, match="timeout") as caught:
        getattr(executor, verb)(*arguments, timeout=timeout)
    assert ran == []
    if isinstance(timeout, float):
        assert repr(timeout) in str(caught.value)


@pytest.mark.parametrize("timeout", [Decimal("30.5"), Fraction(61, 2), timedelta(seconds=30)])
def test_a_timeout_may_be_whatever_is_a_number_or_a_timedelta(timeout: Any) -> None:
    with BatchExecutor() as executor:
        assert executor.execute_batch([int], timeout=timeout) == [0]
        assert list(executor.map(int, ["1"], timeout=timeout)) == [1]


# max_failures


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
def test_the_nth_failure_ends_the_batch(verb: str) -> None:
    operations = [int, refuse, int, refuse, int, refuse, int]
    with BatchExecutor(None, 1) as executor, pytest.raises(ExceptionGroup) as caught:
        list(getattr(executor, verb)(operations, max_failures=2))
    assert {type(error) for error in caught.value.exceptions} == {Refused}
    # What a stream has handed over is not in its report any more.
    if verb != "stream":
        assert len(caught.value.exceptions) == 2
        report = report_of(caught.value)
        expected = ["done", "failed", "done", "failed", "not_started", "not_started", "not_started"]
        assert statuses(report) == expected
        assert report.ended_by == "max_failures"
        assert [outcome.exception for outcome in report.failures] == list(caught.value.exceptions)


def test_fewer_failures_than_the_most_allowed_end_nothing() -> None:
    with BatchExecutor() as executor:
        report = executor.run([refuse, int, refuse], max_failures=3)
    assert statuses(report) == ["failed", "done", "failed"]


def test_the_last_operation_may_be_the_failure_too_many() -> None:
    with BatchExecutor(None, 1) as executor, pytest.raises(ExceptionGroup) as caught:
        executor.execute_batch([int, refuse], max_failures=1)
    assert statuses(report_of(caught.value)) == ["done", "failed"]


def test_a_share_of_failures_is_judged_as_soon_as_there_are_enough_operations() -> None:
    operations = [refuse, refuse, int, int, int]
    with BatchExecutor(None, 1) as executor, pytest.raises(ExceptionGroup) as caught:
        executor.run(operations, max_failures=(0.5, 4))
    expected = ["failed", "failed", "done", "done", "not_started"]
    assert statuses(report_of(caught.value)) == expected


def test_too_many_failures_wait_for_operations_that_run() -> None:
    operations = Operations()

    def fail_when_both_run() -> None:
        wait_until(lambda: operations.started)
        threading.Timer(0.2, operations.gate.set).start()
        refuse()

    with BatchExecutor(None, 2) as executor, pytest.raises(ExceptionGroup) as caught:
        executor.run([partial(operations.hold, 0), fail_when_both_run, *[int] * 5], max_failures=1)
    report = report_of(caught.value)
    assert statuses(report) == ["done", "failed"] + ["not_started"] * 5
    assert operations.finished == [0]


@pytest.mark.parametrize(
    ("max_failures", "error"),
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_a_bad_max_failures_is_refused_by_name(max_failures: Any, error: type[Exception]) -> None:
    ran: list[int] = []
    with BatchExecutor() as executor, pytest.raises(error, match="max_failures") as caught:
        executor.run([partial(ran.append, 1)], max_failures=max_failures)
    assert ran == []
    assert str(max_failures) in str(caught.value)


# A first failure that is raised


def test_the_first_failure_is_raised_as_it_is() -> None:
    error = Refused("first")

    def fail() -> None:
        raise error

    with BatchExecutor(None, 1) as executor, pytest.raises(Refused) as caught:
        executor.execute_batch([int, fail, int, refuse], on_error="raise")
    assert caught.value is error
    assert statuses(report_of(error)) == ["done", "failed", "not_started", "not_started"]


def test_raising_waits_for_operations_that_run_and_starts_no_more() -> None:
    operations = Operations()

    def fail_when_others_run() -> None:
        wait_until(lambda: len(operations.started) == 2)
        threading.Timer(0.2, operations.gate.set).start()
        refuse()

    batch = [
        partial(operations.hold, 0),
        partial(operations.hold, 1),
        fail_when_others_run,
        *[partial(operations.hold, index) for index in range(3, 10)],
    ]
    with BatchExecutor(None, 3, on_error="raise") as executor, pytest.raises(Refused) as caught:
        executor.execute_batch(batch)
    assert statuses(report_of(caught.value)) == ["done", "done", "failed"] + ["not_started"] * 7
    assert sorted(operations.finished) == [0, 1]


def test_an_exception_that_takes_no_attributes_is_raised_all_the_same() -> None:
    class Closed(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            message = f"closed: {name}"
            raise AttributeError(message)

    error = Closed("as it is")

    def fail() -> None:
        raise error

    with BatchExecutor() as executor:
        with pytest.raises(Closed) as caught:
            executor.execute_batch([fail, int], on_error="raise")
        assert caught.value is error
        assert executor.execute_batch([int]) == [0]


def test_an_exception_raised_twice_carries_the_latest_report() -> None:
    error = Refused("the same object")

    def fail() -> None:
        raise error

    with BatchExecutor(None, 1) as executor:
        for size in (2, 5):
            with pytest.raises(Refused):
                executor.execute_batch([fail, *[int] * (size - 1)], on_error="raise")
            assert len(error.batch_report) == size  # type: ignore[attr-defined]
    assert len(paceline_notes(error)) <= 2


# The input


@pytest.mark.parametrize("error", [ValueError("row 5 is bad"), KeyError(5), OSError("gone")])
@pytest.mark.parametrize("verb", ["execute_batch", "run"])
def test_an_input_that_raises_ends_the_batch(verb: str, error: Exception) -> None:
    ran: list[int] = []

    def rows() -> Iterator[Callable[[], None]]:
        for index in range(5):
            yield partial(ran.append, index)
        raise error

    error.__dict__.clear()
    with BatchExecutor(None, 2) as executor, pytest.raises(type(error)) as caught:
        getattr(executor, verb)(rows())
    assert caught.value is error
    assert caught.traceback[-1].name == "rows"
    report = report_of(error)
    assert report.ended_by == "input"
    # Operations that had not started when the input failed do not start any more.
    assert len(report) == 5
    assert sorted(ran) == [outcome.index for outcome in report if outcome.status == "done"]
    assert set(statuses(report)) <= {"done", "not_started"}


def test_an_input_that_raises_waits_for_operations_that_run() -> None:
    operations = Operations()

    def rows() -> Iterator[Callable[[], int]]:
        yield partial(operations.hold, 0)
        wait_until(lambda: operations.started)
        threading.Timer(0.2, operations.gate.set).start()
        message = "no more"
        raise ValueError(message)

    with BatchExecutor(None, 2) as executor, pytest.raises(ValueError, match="no more") as caught:
        executor.run(rows())
    assert statuses(report_of(caught.value)) == ["done"]
    assert operations.finished == [0]


def test_an_input_that_raises_at_once_leaves_an_empty_report() -> None:
    def rows() -> Iterator[Callable[[], int]]:
        message = "nothing here"
        raise ValueError(message)
        yield int

    with BatchExecutor() as executor, pytest.raises(ValueError, match="nothing here") as caught:
        executor.run(rows())
    assert list(report_of(caught.value)) == []


def test_an_iterable_whose_iter_raises_is_heard() -> None:
    class Unreadable:
        def __iter__(self) -> Iterator[Callable[[], int]]:
            message = "closed file"
            raise OSError(message)

    with BatchExecutor() as executor, pytest.raises(OSError, match="closed file"):
        executor.run(Unreadable())


def test_the_input_is_read_on_the_calling_thread() -> None:
    readers: set[threading.Thread] = set()

    def rows() -> Iterator[Callable[[], int]]:
        for _ in range(50):
            readers.add(threading.current_thread())
            yield int

    with BatchExecutor(None, 4) as executor:
        assert executor.execute_batch(rows()) == [0] * 50
    assert readers == {threading.current_thread()}


# Operations that raise what is not an Exception


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt("mine"), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("on_error", ["record", "return", "raise"])
def test_a_base_exception_ends_the_batch_and_is_raised(error: BaseException, on_error: Any) -> None:
    def leave() -> None:
        raise error

    error.__dict__.clear()
    with BatchExecutor(None, 1) as executor, pytest.raises(type(error)) as caught:
        executor.execute_batch([int, leave, int, int], on_error=on_error)
    assert caught.value is error
    report = report_of(error)
    assert statuses(report) == ["done", "failed", "not_started", "not_started"]
    # The error holds the report, so the report holds its likeness.
    likeness = report[1].exception
    assert type(likeness) is type(error)
    assert likeness.args == error.args
    assert traceback.extract_tb(likeness.__traceback__)[-1].name == "leave"
    assert report.ended_by == "operation"
    assert caught.traceback[-1].name == "leave"


def test_a_base_exception_waits_for_operations_that_run() -> None:
    operations = Operations()

    def leave() -> None:
        wait_until(lambda: operations.started)
        threading.Timer(0.2, operations.gate.set).start()
        sys.exit(4)

    with BatchExecutor(None, 2) as executor, pytest.raises(SystemExit) as caught:
        executor.run([partial(operations.hold, 0), leave, int])
    assert statuses(report_of(caught.value)) == ["done", "failed", "not_started"]


def test_execute_raises_a_base_exception() -> None:
    with BatchExecutor() as executor, pytest.raises(SystemExit) as caught:
        executor.execute(partial(sys.exit, 5))
    assert caught.value.code == 5


# What comes after


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
def test_results_that_come_late_do_not_reach_the_next_batch(limiter: Any) -> None:
    operations = Operations()
    with BatchExecutor(limiter, 4) as executor:
        with pytest.raises(BatchTimeoutError):
            executor.run([partial(operations.hold, index) for index in range(3)], timeout=0.5)
        threading.Timer(0.1, operations.gate.set).start()
        values = executor.execute_batch([partial(int, 100 + index) for index in range(200)])
        assert values == [100 + index for index in range(200)]
        assert executor.execute_batch([partial(int, 7)] * 9) == [7] * 9
    assert sorted(operations.finished) == [0, 1, 2]


def test_nothing_more_starts_after_an_early_end() -> None:
    started: list[float] = []
    with BatchExecutor(Metronome(0.01), 4) as executor:
        with pytest.raises(BatchTimeoutError):
            executor.run([lambda: started.append(time.monotonic())] * 500, timeout=0.2)
        ended = time.monotonic()
        time.sleep(0.2)
    assert started
    assert max(started) <= ended


def test_another_batch_goes_on_when_one_ends_early() -> None:
    with BatchExecutor(None, 2) as executor:
        other, box = in_thread(partial(executor.execute_batch, [partial(time.sleep, 0.01)] * 60))
        for _ in range(10):
            with pytest.raises(Refused):
                executor.execute_batch([refuse, int, int], on_error="raise")
        other.join(30)
    assert box == [[None] * 60]


def test_an_exception_raised_from_many_batches_tells_of_each_only_once() -> None:
    error = Refused("the same object")

    def fail() -> None:
        raise error

    with BatchExecutor() as executor:
        for count in (1, 1, 2, 2, 1):
            with pytest.raises(Refused):
                executor.execute_batch([int] * (count - 1) + [fail], on_error="raise")
    assert len(paceline_notes(error)) == 2
