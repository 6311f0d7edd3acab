"""Exceptions are kept whole, and keep nothing alive."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import pytest
from helpers import RecordingLimiter, statuses, wait_until

from paceline import BatchExecutor, BatchTimeoutError, ErrorRecord, RateLimiter


class TenantError(Exception):
    """What the operations of these tests raise."""


def innermost_line(error: BaseException) -> str:
    return str(traceback.extract_tb(error.__traceback__)[-1].line)


def fail_deep(depth: int) -> None:
    if depth:
        fail_deep(depth - 1)
    message = "deep"
    raise TenantError(message)  # the operation's own line


# Whole


def raise_through(verb: str, executor: BatchExecutor, operation: Callable[[], Any]) -> Exception:
    """The exception that ``operation`` raises, as ``verb`` hands it over."""
    error: Any
    if verb == "record":
        (entry,) = executor.execute_batch([operation])
        error = entry.exception
    elif verb == "return":
        (error,) = executor.execute_batch([operation], on_error="return")
    elif verb == "run":
        error = executor.run([operation])[0].exception
    elif verb == "stream":
        (outcome,) = executor.stream([operation])
        error = outcome.exception
    elif verb == "submit":
        error = executor.submit(operation).exception(10)
    else:
        call: Callable[[], Any] = {
            "raise": lambda: executor.execute_batch([operation], on_error="raise"),
            "execute": lambda: executor.execute(operation),
            "map": lambda: list(executor.map(lambda _: operation(), [1])),
        }[verb]
        with pytest.raises(Exception) as caught:
            call()
        error = caught.value
    assert isinstance(error, Exception)
    return error


VERBS = ["record", "return", "raise", "run", "execute", "stream", "submit", "map"]


@pytest.mark.parametrize("verb", VERBS)
def test_the_traceback_reaches_the_operations_own_line(verb: str) -> None:
    with BatchExecutor(None, 2) as executor:
        error = raise_through(verb, executor, partial(fail_deep, 5))
    assert type(error) is TenantError
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-6:] == ["fail_deep"] * 6
    assert "# the operation's own line" in innermost_line(error)


@pytest.mark.parametrize("verb", VERBS)
def test_cause_context_and_attributes_are_kept(verb: str) -> None:
    cause = OSError("connection reset")

    def fail() -> None:
        try:
            int("x")
        except ValueError:
            error = TenantError("could not create")
            error.tenant = 7  # type: ignore[attr-defined]
            error.add_note("asked twice")
            raise error from cause

    with BatchExecutor(None, 2) as executor:
        error = raise_through(verb, executor, fail)
    assert error.__cause__ is cause
    assert isinstance(error.__context__, ValueError)
    assert error.tenant == 7  # type: ignore[attr-defined]
    assert error.__notes__[0] == "asked twice"


@pytest.mark.parametrize("verb", VERBS)
def test_an_exception_does_not_gain_a_context_from_another_operation(verb: str) -> None:
    def fail() -> None:
        raise TenantError

    with BatchExecutor(None, 1) as executor:
        executor.run([partial(fail_deep, 0)] * 3)
        error = raise_through(verb, executor, fail)
    assert error.__context__ is None


@pytest.mark.parametrize("verb", VERBS)
def test_stop_iteration_from_an_operation_is_a_failure_like_any_other(verb: str) -> None:
    error = StopIteration("over")

    def fail() -> None:
        raise error

    with BatchExecutor() as executor:
        if verb == "map":
            # A generator may not let a StopIteration out; the standard library's map raises this.
            with pytest.raises(RuntimeError, match="StopIteration"):
                list(executor.map(lambda _: fail(), [1, 2]))
        else:
            assert raise_through(verb, executor, fail) is error
        assert executor.execute_batch([int]) == [0]


class NoStr(Exception):
    def __str__(self) -> str:
        message = "no str"
        raise RuntimeError(message)


class NoStrNoRepr(NoStr):
    def __repr__(self) -> str:
        message = "no repr"
        raise RuntimeError(message)


class StrLeaves(Exception):
    def __str__(self) -> str:
        sys.exit("out of __str__")


class StrIsNoString(Exception):
    def __str__(self) -> Any:
        return 3


@pytest.mark.parametrize("error", [NoStr(), NoStrNoRepr(), StrIsNoString()])
@pytest.mark.parametrize("verb", VERBS)
def test_an_exception_that_cannot_be_printed_does_no_harm(verb: str, error: Exception) -> None:
    def fail() -> None:
        raise error

    error.__dict__.clear()
    with BatchExecutor(None, 2) as executor:
        assert raise_through(verb, executor, fail) is error
        results: list[Any] = executor.execute_batch([int, fail, dict])
    assert results[0] == 0
    assert results[2] == {}
    assert isinstance(results[1], ErrorRecord)
    assert results[1].exception is error
    assert isinstance(results[1]["error"], str)
    assert type(error).__name__ in results[1]["error"]


def test_what_is_no_exception_is_raised_also_from_an_exceptions_text() -> None:
    error = StrLeaves()

    def fail() -> None:
        raise error

    with BatchExecutor(None, 2) as executor:
        with pytest.raises(SystemExit) as caught:
            executor.execute_batch([int, fail])
        report = caught.value.batch_report  # type: ignore[attr-defined]
        assert statuses(report) == ["done", "failed"]
        assert report[1].exception is error
        # Where nobody needs the text, nothing happens.
        assert executor.run([fail])[0].exception is error


@pytest.mark.parametrize("text", ["", "\ud800 half a pair", "a\x00b", "100 %s {} %(x)d", "é" * 9])
@pytest.mark.usefixtures("unlogged")  # pytest-xdist cannot send half a pair on
def test_any_text_survives_in_the_error(text: str) -> None:
    def fail() -> None:
        raise TenantError(text)

    with BatchExecutor() as executor:
        assert executor.execute_batch([fail]) == [{"error": text}]


def test_a_failure_may_be_an_exception_group() -> None:
    group = ExceptionGroup("both", [ValueError("a"), KeyError("b")])

    def fail() -> None:
        raise group

    with BatchExecutor() as executor:
        report = executor.run([fail])
        with pytest.raises(ExceptionGroup) as caught:
            report.raise_for_failures()
    assert caught.value.exceptions == (group,)


# Nothing is kept alive


class Payload:
    """Something that a test can see being let go."""

    def work(self) -> Payload:
        return self

    def fail(self) -> None:
        kept_in_frame = self
        raise TenantError(kept_in_frame is self)


def assert_let_go(references: list[weakref.ref[Any]]) -> None:
    # A worker may be about to let go of what it has just handed over.
    def all_gone() -> bool:
        gc.collect()
        return not any(reference() is not None for reference in references)

    wait_until(all_gone, timeout=5)


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
def test_an_idle_executor_keeps_neither_operations_nor_results(limiter: Any) -> None:
    with BatchExecutor(limiter, 3) as executor:
        payloads = [Payload() for _ in range(20)]
        references = [weakref.ref(payload) for payload in payloads]
        results = executor.execute_batch([payload.work for payload in payloads])
        report = executor.run([payload.work for payload in payloads])
        assert results == report.values() == payloads
        executor.execute(payloads[0].work)
        executor.submit(payloads[0].work).result(10)
        list(executor.stream([payload.work for payload in payloads]))
        list(executor.map(Payload.work, payloads))
        del payloads, results, report
        assert_let_go(references)


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("verb", VERBS)
def test_a_failure_is_let_go_with_its_traceback(verb: str) -> None:
    with BatchExecutor(None, 2) as executor:
        payload = Payload()
        reference = weakref.ref(payload)
        error = raise_through(verb, executor, payload.fail)
        error_reference = weakref.ref(error)
        del payload
        assert reference() is not None, "the traceback holds the frame"
        del error
        assert_let_go([reference, error_reference])


@pytest.mark.usefixtures("unlogged")
def test_an_early_end_and_its_report_are_let_go() -> None:
    gate = threading.Event()
    with BatchExecutor(None, 2) as executor:
        payloads = [Payload() for _ in range(6)]
        references = [weakref.ref(payload) for payload in payloads]
        operations: list[Callable[[], Any]] = [
            payloads[0].work,
            payloads[1].fail,
            partial(gate.wait, 20),
            partial(gate.wait, 20),
            *[payload.work for payload in payloads],
        ]
        try:
            executor.run(operations, timeout=0.2)
        except BatchTimeoutError as error:
            assert statuses(error.batch_report)[:2] == ["done", "failed"]
            error.own_cycle = error  # type: ignore[attr-defined]
        gate.set()
        del payloads, operations
        assert_let_go(references)


def test_collections_find_every_cycle_through_a_report() -> None:
    with BatchExecutor() as executor:
        payload = Payload()
        report = executor.run([payload.work])
        payload.report = report  # type: ignore[attr-defined]
        reference = weakref.ref(payload)
        del payload, report
        assert_let_go([reference])


def test_an_executor_in_a_cycle_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.executor = BatchExecutor(self, 2)

        def acquire(self) -> None:
            pass

    owner = Owner()
    owner.executor.execute_batch([int] * 5)
    reference = weakref.ref(owner)
    del owner
    assert_let_go([reference])


def test_garbage_is_not_left_behind_by_failures() -> None:
    with BatchExecutor(None, 2) as executor:
        executor.execute_batch([partial(fail_deep, 1)] * 10)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            executor.execute_batch([partial(fail_deep, 1)] * 10)
            executor.run([partial(fail_deep, 1)] * 10)
            gc.collect()
            ours = [item for item in gc.garbage if isinstance(item, TenantError | TracebackType)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert ours == []
