"""Failures are logged: once each, with their exceptions, and as a number where they are many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import pytest
from childprocess import run_script
from failures import PATIENT, QuotaError, fail, failures_in, unreachable
from helpers import RecordingLimiter, event_of

from paceline import BatchExecutor, Retry


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
def test_a_recorded_failure_is_logged_once(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    operations = [int, fail, int, partial(fail, "again")]
    assert len(list(getattr(executor, verb)(operations))) == 4
    records: list[Any] = failures_in(caplog)
    assert {record.levelno for record in records} == {logging.ERROR}
    assert all(record.name.partition(".")[0] == "paceline" for record in records)
    found = sorted((record.index, record.error, record.error_type) for record in records)
    assert [entry[:2] for entry in found] == [(1, "no quota left"), (3, "again")]
    assert all(kind.endswith("QuotaError") for _, _, kind in found)
    assert all(type(record.index) is int for record in records)


def test_an_exception_object_as_result_is_a_recorded_failure(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    executor.execute_batch([fail], on_error="return")
    assert len(failures_in(caplog)) == 1


def test_what_is_raised_or_kept_in_a_future_is_not_logged(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(QuotaError):
        executor.execute(fail)
    with pytest.raises(QuotaError):
        executor.execute_batch([fail], on_error="raise")
    with pytest.raises(QuotaError):
        list(executor.map(lambda _: fail(), [1]))
    assert isinstance(executor.submit(fail).exception(10), QuotaError)
    assert failures_in(caplog) == []


def test_refused_permits_are_logged_as_failures(caplog: pytest.LogCaptureFixture) -> None:
    with BatchExecutor(RecordingLimiter(0)) as executor:
        executor.execute_batch([int, int])
    records: list[Any] = failures_in(caplog)
    assert sorted(record.index for record in records) == [0, 1]
    assert {record.error_type.rpartition(".")[2] for record in records} == {"PermitRefusedError"}


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
@pytest.mark.parametrize(
    ("last", "options"), [(int, {"timeout": 0.5}), (fail, {"max_failures": 1})]
)
def test_what_is_not_tried_again_as_its_batch_ends_is_logged_once(
    caplog: pytest.LogCaptureFixture, verb: str, last: Any, options: dict[str, Any]
) -> None:
    operations = [unreachable, int, unreachable, last]
    with (
        BatchExecutor(None, 1, retry=PATIENT) as executor,
        pytest.raises((TimeoutError, ExceptionGroup)) as caught,
    ):
        list(getattr(executor, verb)(operations, **options))
    report = caught.value.batch_report  # type: ignore[union-attr]
    records: list[Any] = failures_in(caplog)
    logged = {record.index: record.error_type for record in records}
    assert logged[0] == logged[2] == "ConnectionRefusedError"
    assert sorted(logged) == [outcome.index for outcome in report.failures]
    assert len(records) == report.counts["failed"]


@pytest.mark.parametrize("verb", ["execute_batch", "execute", "submit"])
def test_each_repetition_is_told(caplog: pytest.LogCaptureFixture, verb: str) -> None:
    caplog.set_level(logging.INFO, "paceline")
    attempts = count(1)

    def fails_twice() -> int:
        if (attempt := next(attempts)) < 3:
            raise ConnectionRefusedError(f"attempt {attempt}")
        return attempt

    policy = Retry(5, backoff=0.01, jitter=False)
    with BatchExecutor(None, 1, retry=policy) as executor:
        operations = {"execute_batch": [int, fails_twice]}
        result = getattr(executor, verb)(operations.get(verb, fails_twice))
        got = result.result(10) if verb == "submit" else result
    assert got == ([0, 3] if verb == "execute_batch" else 3)
    lines: list[Any] = [each for each in caplog.records if event_of(each) == "operation_retried"]
    assert {(line.name, line.levelname) for line in lines} == {("paceline", "INFO")}
    assert [line.error for line in lines] == ["attempt 1", "attempt 2"]
    assert {line.error_type for line in lines} == {"ConnectionRefusedError"}
    assert [(line.attempt, type(line.attempt)) for line in lines] == [(1, int), (2, int)]
    assert [line.seconds for line in lines] == pytest.approx([0.01, 0.02])
    assert {line.index for line in lines} == {int(verb == "execute_batch")}


def test_what_is_not_tried_again_and_not_recorded_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with BatchExecutor(None, 1, retry=PATIENT) as executor, pytest.raises(QuotaError):
        executor.execute_batch([unreachable, fail], on_error="raise")
    assert failures_in(caplog) == []


def test_text_that_is_no_utf8_is_logged_or_dropped_but_breaks_nothing(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    results = executor.execute_batch([partial(fail, "\ud800"), partial(fail, "%s %d {x}")])
    assert results == [{"error": "\ud800"}, {"error": "%s %d {x}"}]
    assert [record.index for record in failures_in(caplog) if record.error == "%s %d {x}"] == [1]  # type: ignore[attr-defined]


def test_a_failure_has_its_exception_as_exc_info(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    report = executor.run([fail, partial(fail, "again")])
    records = failures_in(caplog)
    exceptions = [record.exc_info[1] for record in records if record.exc_info]
    assert {id(each) for each in exceptions} == {id(each.exception) for each in report.failures}
    assert all(record.exc_info[2] is not None for record in records if record.exc_info)


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
def test_many_failures_of_one_second_are_counted_and_none_is_lost(
    caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    operations = [fail] * 500 + [unreachable] * 300
    with BatchExecutor(max_workers=3) as executor:
        assert len(list(getattr(executor, verb)(operations))) == 800
    one_by_one = failures_in(caplog)
    counts: list[Any] = [
        each for each in caplog.records if event_of(each) == "more_operations_failed"
    ]
    seconds = 1 + len(counts)
    assert 10 <= len(one_by_one) <= 10 * seconds
    assert len(one_by_one) + sum(line.count for line in counts) == 800
    assert all(type(line.count) is int and 0 < line.seconds <= 1 for line in counts)
    assert counts[0].getMessage().startswith("more_operations_failed: and ")
    kinds = " ".join(line.error_types for line in counts)
    assert "QuotaError" in kinds
    assert "ConnectionRefusedError" in kinds


def test_what_is_given_up_is_counted_as_well(caplog: pytest.LogCaptureFixture) -> None:
    with (
        BatchExecutor(None, 2, retry=PATIENT) as executor,
        pytest.raises(TimeoutError) as caught,
    ):
        executor.run([unreachable] * 50, timeout=0.5)
    failed = caught.value.batch_report.counts["failed"]  # type: ignore[attr-defined]
    (count,) = [each for each in caplog.records if event_of(each) == "more_operations_failed"]
    assert len(failures_in(caplog)) + vars(count)["count"] == failed


def test_a_new_second_has_its_own_ten(caplog: pytest.LogCaptureFixture) -> None:
    def burst() -> Iterator[Callable[[], None]]:
        yield from [fail] * 15
        time.sleep(1.2)
        yield from [fail] * 15

    with BatchExecutor(max_workers=1) as executor:
        executor.run(burst())
    assert len(failures_in(caplog)) == 20
    counts = [vars(each)["count"] for each in caplog.records if hasattr(each, "count")]
    assert counts == [5, 5]


LET_GO = """
import gc, logging, weakref
from paceline import BatchExecutor

class Failure(Exception):
    pass

failures = []
def fails():
    error = Failure("no quota left")
    failures.append(weakref.ref(error))
    try:
        raise error
    finally:
        del error

lines = []
class Write(logging.Handler):
    def emit(self, record):
        lines.append(self.format(record))

logging.getLogger("paceline").addHandler(Write())
gc.disable()
with BatchExecutor(max_workers=1) as executor:
    executor.run([fails] * 30)
print("in fails" in lines[0], len(lines), [each() for each in failures] == [None] * 30)
"""


def test_a_failure_that_was_logged_is_let_go() -> None:
    assert run_script(LET_GO).assert_silent().stdout == "True 11 True\n"
