"""What happens in a batch reaches Python's logging, and logging cannot break a batch."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import Any

import pytest
import structlog
from childprocess import run_script
from helpers import RecordingLimiter, event_of, statuses

from paceline import BatchExecutor, RateLimiter, Retry

EVENT = "batch_operation_failed"


class QuotaError(Exception):
    """What the failing operations of these tests raise."""


def fail(message: str = "no quota left") -> None:
    raise QuotaError(message)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The package's logger, put back as it was after the test."""
    logger = logging.getLogger("paceline")
    level, handlers, propagate = logger.level, logger.handlers[:], logger.propagate
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers
    logger.propagate = propagate
    logger.disabled = False


def failures_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if event_of(record) == EVENT]


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


def unreachable() -> None:
    raise ConnectionRefusedError


PATIENT = Retry(3, backoff=60, jitter=False)


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


def test_a_level_that_is_set_late_holds_for_submitted_calls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No batch begins after it was set."""
    caplog.set_level(logging.CRITICAL, "paceline")
    failures = iter([ConnectionRefusedError("unseen"), None, ConnectionRefusedError("seen"), None])

    def fails() -> None:
        if error := next(failures):
            raise error

    with BatchExecutor(None, 1, retry=Retry(5, backoff=0.01)) as executor:
        executor.run([int])
        executor.submit(fails).result(10)
        caplog.set_level(logging.INFO, "paceline")
        executor.submit(fails).result(10)
    retried: list[Any] = [each for each in caplog.records if event_of(each) == "operation_retried"]
    assert [line.error for line in retried] == ["seen"]


def test_what_is_not_tried_again_and_not_recorded_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with BatchExecutor(None, 1, retry=PATIENT) as executor, pytest.raises(QuotaError):
        executor.execute_batch([unreachable, fail], on_error="raise")
    assert failures_in(caplog) == []


def test_success_is_silent_above_debug(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "paceline")
    executor.execute_batch([int] * 50)
    assert [record for record in caplog.records if record.name.startswith("paceline")] == []


def test_each_batch_has_a_debug_line_with_its_counts(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "paceline")
    executor.run([int] * 23 + [fail] * 14)
    (line,) = [record for record in caplog.records if record.levelno == logging.DEBUG]
    assert (line.name, event_of(line)) == ("paceline", "batch_ended")
    fields = vars(line)
    counts = {name: fields[name] for name in ("done", "failed", "running", "not_started")}
    assert counts == {"done": 23, "failed": 14, "running": 0, "not_started": 0}
    assert fields["cancelled"] == 0
    assert fields["ended_by"] == "completed"
    assert 0 < fields["elapsed"] < 20


def test_a_level_set_at_any_time_holds_for_the_next_batch(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture, logger: logging.Logger
) -> None:
    executor.execute_batch([fail])
    assert len(failures_in(caplog)) == 1
    for level, expected in [
        (logging.CRITICAL, 0),
        (logging.ERROR, 1),
        (logging.CRITICAL + 10, 0),
        (logging.DEBUG, 1),
    ]:
        caplog.clear()
        logger.setLevel(level)
        executor.execute_batch([fail])
        assert len(failures_in(caplog)) == expected, level
        debug = [record for record in caplog.records if record.levelno == logging.DEBUG]
        assert bool(debug) == (level == logging.DEBUG)


def test_logging_disabled_for_all_is_respected(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    logging.disable(logging.CRITICAL)
    try:
        executor.execute_batch([fail])
        assert failures_in(caplog) == []
    finally:
        logging.disable(logging.NOTSET)
    executor.execute_batch([fail])
    assert len(failures_in(caplog)) == 1


def test_structlog_renders_the_event_with_its_fields(
    executor: BatchExecutor, logger: logging.Logger
) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger.addHandler(handler)
    executor.execute_batch([int, int, fail])
    (event,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert event["event"] == EVENT
    assert event["level"] == "error"
    assert event["error"] == "no quota left"
    assert event["error_type"].endswith("QuotaError")
    assert event["index"] == 2
    assert event["logger"].startswith("paceline")


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


def test_text_that_is_no_utf8_is_logged_or_dropped_but_breaks_nothing(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    results = executor.execute_batch([partial(fail, "\ud800"), partial(fail, "%s %d {x}")])
    assert results == [{"error": "\ud800"}, {"error": "%s %d {x}"}]
    assert [record.index for record in failures_in(caplog) if record.error == "%s %d {x}"] == [1]  # type: ignore[attr-defined]


def test_the_logger_has_a_null_handler(logger: logging.Logger) -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


SILENT = """
from paceline import BatchExecutor, RateLimiter

def fail():
    raise ValueError("no quota left")

for limiter in (None, RateLimiter(1000, per=1)):
    with BatchExecutor(limiter) as executor:
        assert executor.execute_batch([fail, int]) == [{"error": "no quota left"}, 0]
        executor.run([fail])
        list(executor.stream([fail]))
"""


def test_a_program_without_logging_configured_stays_silent() -> None:
    result = run_script(SILENT)
    assert result.assert_silent().stdout == ""


def test_a_program_with_basic_config_sees_the_event() -> None:
    result = run_script("import logging; logging.basicConfig()\n" + SILENT)
    assert result.returncode == 0
    assert result.stderr.count(EVENT) == 6
    assert result.stderr.startswith("ERROR:paceline")


def test_logging_configured_after_the_first_batch_is_honoured() -> None:
    result = run_script(
        SILENT + "import logging; logging.basicConfig(level=logging.DEBUG)\n" + SILENT
    )
    assert result.returncode == 0
    assert result.stderr.count(EVENT) == 6
    assert "DEBUG:paceline" in result.stderr


# What a line says


LINES = """
import logging
from paceline import BatchExecutor
logging.basicConfig()

def no_tenant():
    raise LookupError("no such tenant")

with BatchExecutor() as executor:
    executor.execute_batch([int, no_tenant])
"""


def test_a_line_says_what_happened_in_the_default_format() -> None:
    first, *rest = run_script(LINES).stderr.splitlines()
    said = r"ERROR:paceline:batch_operation_failed: operation 1 failed after \d+\.\d\d s: (.*)"
    assert (match := re.fullmatch(said, first))
    assert match[1] == "LookupError: no such tenant"
    assert rest[0] == "Traceback (most recent call last):"
    assert any("in no_tenant" in line for line in rest)
    assert rest[-1] == "LookupError: no such tenant"


def test_a_failure_has_its_exception_as_exc_info(
    executor: BatchExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    report = executor.run([fail, partial(fail, "again")])
    records = failures_in(caplog)
    exceptions = [record.exc_info[1] for record in records if record.exc_info]
    assert {id(each) for each in exceptions} == {id(each.exception) for each in report.failures}
    assert all(record.exc_info[2] is not None for record in records if record.exc_info)


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


def test_pauses_and_long_waits_are_told_when_they_begin(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paceline")
    limiter = RateLimiter(1, per=30)
    with BatchExecutor(limiter, max_workers=2) as executor, pytest.raises(TimeoutError):
        executor.run([int] * 5, timeout=0.3)
    assert not limiter.acquire(timeout=0.1)
    limiter.pause(45)
    lines: list[Any] = [each for each in caplog.records if each.levelno == logging.INFO]
    assert [event_of(line) for line in lines] == ["waiting_for_limit", "limiter_paused"]
    assert 25 < lines[0].seconds <= 31
    said = r"waiting_for_limit: no permit for \d\d\.\d s, until (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
    assert re.fullmatch(said, lines[0].getMessage())
    assert lines[1].getMessage().startswith("limiter_paused: no permits for 45.00 s, until ")


LONG_WAIT = """
import logging, os, threading
from paceline import BatchExecutor, RateLimiter

told = threading.Semaphore(0)
class Tell(logging.Handler):
    def emit(self, record):
        print(record.event, 25 < record.seconds < 35, flush=True)
        told.release()

logger = logging.getLogger("paceline")
logger.addHandler(Tell())
logger.setLevel(logging.INFO)
limiter = RateLimiter(1, per=30)
limiter.acquire()
executor = BatchExecutor()
executor.submit(limiter.acquire)
told.acquire()
os._exit(0)
"""


def test_a_long_wait_inside_an_operation_is_told() -> None:
    assert run_script(LONG_WAIT).assert_silent().stdout == "waiting_for_limit True\n"


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
