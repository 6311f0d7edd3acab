"""An end that waits for running calls says so: in the log after a second, and in a note."""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from childprocess import run_script
from helpers import RaisingLimiter, in_thread, paceline_notes, wait_until

from paceline import BatchExecutor

LONG = 1.6


class Straw(Exception):
    pass


def fail_late(begun: list[int]) -> None:
    wait_until(lambda: len(begun) == 2)
    raise Straw


def hold(begun: list[int], seconds: float) -> None:
    begun.append(1)
    time.sleep(seconds)


def on_error(executor: BatchExecutor, held: list[Callable[[], Any]], last: Any) -> None:
    executor.execute_batch([*held, last], on_error="raise")


def max_failures(executor: BatchExecutor, held: list[Callable[[], Any]], last: Any) -> None:
    executor.run([*held, last], max_failures=1)


def stream(executor: BatchExecutor, held: list[Callable[[], Any]], last: Any) -> None:
    list(executor.stream([*held, last], max_failures=1))


def mapped(executor: BatchExecutor, held: list[Callable[[], Any]], last: Any) -> None:
    # The failure's turn comes last: its exception is raised when it is asked for, at once.
    list(executor.map(lambda operation: operation(), [last, *held]))


def raising_input(executor: BatchExecutor, held: list[Callable[[], Any]], last: Any) -> None:
    def source() -> Iterator[Callable[[], Any]]:
        yield from held
        last()

    executor.run(source())


def raising_limiter(executor: BatchExecutor, held: list[Callable[[], Any]], _last: Any) -> None:
    limited = BatchExecutor(RaisingLimiter(Straw(), 2), max_workers=3)
    limited.run([*held, int])


ENDS = {
    on_error: "operation",
    max_failures: "max_failures",
    stream: "max_failures",
    raising_input: "input",
    raising_limiter: "limiter",
}


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if "waiting_for_calls" in each.getMessage()]


def end(act: Any, seconds: float) -> BaseException:
    begun: list[int] = []
    held: list[Callable[[], Any]] = [partial(hold, begun, seconds)] * 2
    with BatchExecutor(max_workers=3) as executor:
        try:
            act(executor, held, partial(fail_late, begun))
        except BaseException as error:
            return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("act", ENDS)
def test_a_failure_that_waits_says_for_how_many(act: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paceline")
    error = end(act, LONG)
    (line,) = lines(caplog)
    assert line.levelno == logging.WARNING
    assert line.running == 2  # type: ignore[attr-defined]
    assert line.getMessage() == (
        f"waiting_for_calls: waiting for 2 running calls before the batch ends, by {ENDS[act]!r}"
    )
    told = [note for note in paceline_notes(error) if "waiting for 2 running calls" in note]
    assert len(told) == 1
    assert len(paceline_notes(error)) == 2


@pytest.mark.parametrize("act", [*ENDS, mapped])
def test_an_end_that_waits_for_less_says_nothing(
    act: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "paceline")
    error = end(act, 0.3)
    assert lines(caplog) == []
    assert len(paceline_notes(error)) == 1


def test_ctrl_c_in_that_wait_tells_as_well(caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()
    begun: list[int] = []

    def held() -> None:
        begun.append(1)
        go.wait(20)

    def interrupt() -> None:
        wait_until(lambda: lines(caplog))
        _thread.interrupt_main()

    with BatchExecutor(max_workers=3) as executor:
        in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            executor.run([held, held, partial(fail_late, begun)], max_failures=1)
        assert caught.value.batch_report.counts["running"] == 2  # type: ignore[attr-defined]
        assert "2 running calls" in paceline_notes(caught.value)[1]
        go.set()


@pytest.mark.parametrize("queued", [0, 4])
def test_leaving_with_says_so(queued: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paceline")
    with BatchExecutor(max_workers=2) as executor:
        for _ in range(2):
            executor.submit(time.sleep, LONG)
        for _ in range(queued):
            executor.submit(int)
        wait_until(lambda: executor._pool.runtime.unfinished() == (2, queued))
    (line,) = lines(caplog)
    assert line.levelno == logging.INFO
    assert (line.running, line.not_started) == (2, queued)  # type: ignore[attr-defined]
    more = f" and {queued} that have not started" if queued else ""
    assert line.getMessage().endswith(
        f"waiting for 2 running calls{more} before the executor is shut down"
    )


def test_leaving_with_counts_what_was_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paceline")
    with BatchExecutor(max_workers=2) as executor, pytest.raises(TimeoutError):
        executor.run([partial(time.sleep, LONG)] * 5, timeout=0.1)
    (line,) = lines(caplog)
    assert (line.running, line.not_started) == (2, 0)  # type: ignore[attr-defined]


def test_leaving_with_counts_what_a_dropped_stream_still_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "paceline")
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream([int, *[partial(time.sleep, LONG)] * 5])
        next(outcomes)
        thread, box = in_thread(outcomes.__next__)
        time.sleep(0.1)
        outcomes.close()
        thread.join(10)
        del outcomes, thread, box
    (line,) = lines(caplog)
    assert line.running > 0  # type: ignore[attr-defined]


def test_a_quick_shutdown_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "paceline")
    with BatchExecutor(max_workers=2) as executor:
        executor.submit(time.sleep, 0.2)
    executor.shutdown()
    assert lines(caplog) == []


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left")


def test_a_handler_that_raises_changes_nothing() -> None:
    handler = Raising()
    logger = logging.getLogger("paceline")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        error = end(raising_input, LONG)
        assert isinstance(error, Straw)
        assert len(paceline_notes(error)) == 2
        with BatchExecutor(max_workers=1) as executor:
            future = executor.submit(time.sleep, LONG)
        assert future.done()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


EXIT = """
import logging, sys, time
from paceline import BatchExecutor

SETUP
executor = BatchExecutor(max_workers=2)
for _ in range(3):
    executor.submit(time.sleep, SECONDS)
"""


@pytest.mark.parametrize("seconds", [0.2, LONG])
def test_the_end_of_the_program_says_so(seconds: float) -> None:
    setup = "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(message)s')"
    ended = run_script(EXIT.replace("SETUP", setup).replace("SECONDS", str(seconds)))
    ended.assert_silent()
    told = "waiting_for_calls: waiting for 2 running calls and 1 that has not started"
    expected = f"{told} before the program ends\n" if seconds == LONG else ""
    assert ended.stdout == expected


CLOSED = """
stream = open(os.devnull, "w")
logging.basicConfig(level=10, stream=stream)
"""
CLOSED_AT_EXIT = CLOSED + "import atexit; atexit.register(stream.close)"


@pytest.mark.parametrize("setup", ["", CLOSED + "stream.close()", CLOSED_AT_EXIT])
def test_at_exit_it_is_silent_where_logging_is_gone(setup: str) -> None:
    ended = run_script(EXIT.replace("SETUP", setup).replace("SECONDS", str(LONG)))
    ended.assert_silent()
