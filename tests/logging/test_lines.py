"""Which lines a program gets, by how it has set up logging, and what they say."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest
import structlog
from childprocess import run_script
from failures import EVENT, fail, failures_in
from helpers import event_of

from paceline import BatchExecutor, RateLimiter, Retry


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
