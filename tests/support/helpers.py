"""What several test modules share: limiters that watch, windows, waiting."""

from __future__ import annotations

import logging
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def eager_thread_switches() -> Iterator[None]:
    """Have the interpreter switch threads about as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


class RecordingLimiter:
    """A foreign limiter that grants at once and remembers who asked, and when."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.threads: list[threading.Thread] = []
        self.times: list[float] = []

    def acquire(self) -> object:
        self.threads.append(threading.current_thread())
        self.times.append(time.monotonic())
        return self.answer

    @property
    def calls(self) -> int:
        return len(self.times)


class Metronome:
    """A foreign limiter: the next permit comes ``interval`` seconds after the last one came."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.calls = 0
        self._lock = threading.Lock()
        self._next = 0.0

    def acquire(self) -> None:
        with self._lock:
            delay = self._next - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            self._next = time.monotonic() + self.interval
            self.calls += 1


class RaisingLimiter:
    """A foreign limiter that grants ``permits`` times and then raises ``error``."""

    def __init__(self, error: BaseException, permits: int = 0) -> None:
        self.error = error
        self.permits = permits
        self.calls = 0

    def acquire(self) -> None:
        self.calls += 1
        if self.calls > self.permits:
            raise self.error


class Gauge:
    """Counts how many blocks run at once, and the most that ever did."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0
        self.most = 0
        self.entered = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._lock:
            self.now += 1
            self.entered += 1
            self.most = max(self.most, self.now)
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1


def worst_window(times: Iterable[float], per: float) -> int:
    """The most instants that any half-open stretch of ``per`` seconds holds."""
    ordered = sorted(times)
    return max(
        (bisect_left(ordered, start + per) - index for index, start in enumerate(ordered)),
        default=0,
    )


def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Poll ``condition`` until it holds; fail the test after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"condition did not come to hold within {timeout} s")
        time.sleep(0.002)


def fail(message: str = "no") -> None:
    """An operation that fails."""
    raise ValueError(message)


def paceline_notes(error: BaseException) -> list[str]:
    """The notes that the executor has attached to ``error``."""
    return [note for note in getattr(error, "__notes__", []) if note.startswith("paceline: ")]


def event_of(record: logging.LogRecord) -> str | None:
    """Return the name of the event that a record of the package's is about."""
    return vars(record).get("event")


def statuses(outcomes: Iterable[Any]) -> list[str]:
    """The status of each outcome, in order."""
    return [outcome.status for outcome in outcomes]


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start ``function`` in a daemon thread; the list receives what it returns or raises."""
    box: list[Any] = []

    def run() -> None:
        try:
            box.append(function())
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, box
