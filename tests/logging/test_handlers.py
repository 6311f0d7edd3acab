"""Handlers and filters of the program: what they may do, and in whose context they are called."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from failures import EVENT, PATIENT, QuotaError, fail, unreachable
from helpers import RecordingLimiter, event_of, statuses

from paceline import BatchExecutor, Retry

REQUEST: ContextVar[str] = ContextVar("REQUEST", default="none")


@pytest.fixture
def requests(caplog: pytest.LogCaptureFixture) -> Iterator[list[tuple[str, str]]]:
    """The events, each with the request that its filter has read from the context."""
    seen: list[tuple[Any, str]] = []

    def see(record: logging.LogRecord) -> bool:
        seen.append((event_of(record), REQUEST.get()))
        return True

    caplog.handler.addFilter(see)
    caplog.set_level(logging.DEBUG)
    token = REQUEST.set("req-42")
    yield seen
    REQUEST.reset(token)
    caplog.handler.removeFilter(see)


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
@pytest.mark.parametrize("refused", [False, True])
def test_what_is_logged_of_an_operation_is_logged_in_the_context_of_the_caller(
    verb: str, refused: bool, requests: list[tuple[str, str]]
) -> None:
    limiter = RecordingLimiter(False) if refused else None
    with BatchExecutor(limiter) as executor:
        assert len(list(getattr(executor, verb)([fail, fail]))) == 2
    assert requests == [(EVENT, "req-42")] * 2 + [("batch_ended", "req-42")]


@pytest.mark.parametrize("verb", ["run", "submit"])
def test_the_policy_and_the_pauses_are_in_the_context_of_the_caller(
    verb: str, requests: list[tuple[str, str]]
) -> None:
    judged: list[str] = []

    def asked(_: Exception) -> float:
        judged.append(REQUEST.get())
        REQUEST.set("changed by the policy")
        return 0.01

    with BatchExecutor(retry=Retry(3, on=QuotaError, retry_after=asked)) as executor:
        if verb == "run":
            executor.run([fail])
        else:
            executor.submit(fail).exception(10)
    assert judged == ["req-42"] * 3
    pauses = [request for event, request in requests if event == "rate_limited"]
    assert pauses
    assert set(pauses) == {"changed by the policy"}, "the event belongs to the call of the policy"


class Bomb(logging.Handler):
    """A handler that raises instead of handling."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        raise self.error


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("bad format")])
def test_a_handler_that_raises_changes_no_result(
    executor: BatchExecutor,
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    bomb = Bomb(error)
    logger.addHandler(bomb)
    logger.setLevel(logging.DEBUG)
    operations = [int, fail, list, fail] * 5
    results: list[Any] = executor.execute_batch(operations)
    assert results == [0, {"error": "no quota left"}, [], {"error": "no quota left"}] * 5
    assert all(isinstance(entry.exception, QuotaError) for entry in results[1::2])
    assert statuses(executor.run(operations)) == ["done", "failed"] * 10
    assert executor.execute(int) == 0
    assert bomb.records > 0
    assert {type(entry.exc_value) for entry in unraisable} == {type(error)}


def test_what_is_no_exception_is_raised_by_a_handler_on_the_callers_thread_only(
    executor: BatchExecutor, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be Ctrl-C, which must not be lost; a worker cannot be interrupted."""
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    logger.addHandler(Bomb(SystemExit(3)))
    logger.setLevel(logging.ERROR)
    assert executor.execute_batch([int, fail]) == [0, {"error": "no quota left"}]
    assert {type(entry.exc_value) for entry in unraisable} == {SystemExit}
    logger.setLevel(logging.DEBUG)
    with pytest.raises(SystemExit) as caught:
        executor.execute_batch([int, fail])
    assert statuses(caught.value.batch_report) == ["done", "failed"]  # type: ignore[attr-defined]


def test_what_a_handler_raises_as_a_batch_ends_has_its_report(logger: logging.Logger) -> None:
    logger.addHandler(Bomb(SystemExit(3)))
    with BatchExecutor(None, 1, retry=PATIENT) as executor:
        with pytest.raises(SystemExit) as caught:
            executor.run([int, unreachable], timeout=0.3)
    assert statuses(caught.value.batch_report) == ["done", "failed"]  # type: ignore[attr-defined]


def test_a_filter_that_raises_changes_no_result(
    executor: BatchExecutor, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)

    def explode(_: logging.LogRecord) -> bool:
        message = "filter"
        raise RuntimeError(message)

    logger.addFilter(explode)
    try:
        assert executor.execute_batch([int, fail, int]) == [0, {"error": "no quota left"}, 0]
    finally:
        logger.removeFilter(explode)
    assert {type(entry.exc_value) for entry in unraisable} == {RuntimeError}


def test_a_handler_may_use_the_executor_it_hears_from(
    executor: BatchExecutor, logger: logging.Logger
) -> None:
    nested: list[Any] = []

    class Nesting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if event_of(record) == EVENT and not nested:
                nested.append(None)
                nested[0] = executor.execute_batch([partial(int, 5)])

    logger.addHandler(Nesting())
    assert executor.execute_batch([fail, int]) == [{"error": "no quota left"}, 0]
    assert nested == [[5]]


def test_a_handler_that_logs_failures_of_its_own_does_not_mix_the_exceptions(
    logger: logging.Logger,
) -> None:
    # Another worker would wait for the handler's lock, and the handler for what it runs.
    executor = BatchExecutor(max_workers=1)
    seen: list[tuple[str, str]] = []

    class Nesting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not seen:
                seen.append(("", ""))
                executor.execute_batch([partial(fail, "inner")])
            assert record.exc_info
            seen.append((vars(record)["error"], str(record.exc_info[1])))

    logger.addHandler(Nesting())
    executor.execute_batch([partial(fail, "outer")])
    assert sorted(seen) == [("", ""), ("inner", "inner"), ("outer", "outer")]
