"""Outcomes know what they are of, at no cost for who does not ask; and give their result."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest
from helpers import RecordingLimiter

from paceline import BatchExecutor, BatchTimeoutError, Outcome, Retry


def divide(number: int, *, by: int = 1) -> float:
    return number / by


def made_of(items: Iterable[Any]) -> list[Callable[[], float]]:
    return [partial(divide, item) for item in items]


KINDS: list[Any] = [list, tuple, iter]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("count", [3, 2000])
def test_a_stream_knows_the_operation_of_each(kind: Any, ordered: bool, count: int) -> None:
    operations = made_of(range(count))
    with BatchExecutor(max_workers=3) as executor:
        outcomes = list(executor.stream(kind(operations), ordered=ordered))
    assert {outcome.index for outcome in outcomes} == set(range(count))
    for outcome in outcomes:
        assert outcome.args == (outcome.index,)
        assert outcome.kwargs == {}
        assert outcome.operation is not None
        assert outcome.operation() == outcome.value
        if kind is not iter:
            assert outcome.operation is operations[outcome.index]


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_report_knows_the_operation_of_each(kind: Any) -> None:
    operations = [*made_of(range(5)), partial(divide, 1, by=0), int]
    with BatchExecutor() as executor:
        report = executor.run(kind(operations))
    assert [outcome.operation for outcome in report] == operations
    assert report[5].args == (1,)
    assert report[5].kwargs == {"by": 0}
    assert (report[6].args, report[6].kwargs) == ((), {})
    assert report.failures[0].operation is operations[5]


def test_of_an_iterator_a_report_knows_what_failed() -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, retry=Retry(2, on=ZeroDivisionError, backoff=0)) as executor:
        report = executor.run(iter([*made_of(range(3)), partial(divide, 7, by=0), int]))
    assert [outcome.operation for outcome in report if outcome.ok] == [None] * 4
    assert (report[3].args, report[3].kwargs) == ((7,), {"by": 0})
    refusing = RecordingLimiter(False)
    with BatchExecutor(refusing) as executor:
        report = executor.run(iter(made_of([5])))
    assert report[0].args == (5,)


@pytest.mark.parametrize("kind", KINDS)
def test_what_never_began_is_known_where_a_stream_ends_early(kind: Any) -> None:
    operations = made_of(range(60))
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(kind(operations), buffersize=20, ordered=True)
        assert next(outcomes).args == (0,)
        outcomes.close()
        report = outcomes.report()
    for outcome in report:
        assert outcome.args == (outcome.index,)


def test_a_report_at_a_timeout_knows_what_is_left() -> None:
    operations: list[Any] = [partial(time.sleep, 0.5), *made_of(range(30))]
    with BatchExecutor(max_workers=1) as executor, pytest.raises(BatchTimeoutError) as caught:
        executor.run(operations, timeout=0.2)
    report = caught.value.batch_report
    assert [outcome.args for outcome in report[1:]] == [(number,) for number in range(30)]


def test_a_list_that_was_changed_is_not_asked_in_vain() -> None:
    operations = made_of(range(5))
    with BatchExecutor() as executor:
        report = executor.run(operations)
    operations.clear()
    assert report[3].operation is None
    assert report[3].args == ()


class Big:
    def __call__(self) -> int:
        return 1


def test_a_stream_over_an_iterator_lets_go_of_what_was_handed_over() -> None:
    made: list[weakref.ref[Big]] = []

    def operations() -> Iterator[Big]:
        for _ in range(500):
            operation = Big()
            made.append(weakref.ref(operation))
            yield operation
            del operation

    most = 0
    with BatchExecutor(max_workers=2) as executor:
        for outcome in executor.stream(operations(), buffersize=5):
            del outcome
            most = max(most, sum(reference() is not None for reference in made))
    del executor
    gc.collect()
    assert most <= 12
    assert not any(reference() for reference in made)


def test_values_of_an_iterator_do_not_keep_their_operations() -> None:
    made: list[weakref.ref[Big]] = []

    def operations() -> Iterator[Big]:
        for _ in range(50):
            operation = Big()
            made.append(weakref.ref(operation))
            yield operation
            del operation

    with BatchExecutor(max_workers=2) as executor:
        report = executor.run(operations())
    gc.collect()
    assert report.values() == [1] * 50
    assert not any(reference() for reference in made)


# Results


def test_a_result_is_the_value_or_is_raised() -> None:
    with BatchExecutor() as executor:
        done, failed = executor.run([int, partial(divide, 1, by=0)])
    assert done.ok is True
    assert done.result() == 0
    assert failed.ok is False
    with pytest.raises(ZeroDivisionError) as caught:
        failed.result()
    assert caught.value is failed.exception


@pytest.mark.parametrize("status", ["running", "not_started", "cancelled"])
def test_what_has_no_result_says_why(status: Any) -> None:
    with pytest.raises(RuntimeError, match=f"operation 7 has no result: its status is .{status}"):
        Outcome(7, status).result()
