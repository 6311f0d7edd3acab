"""Inputs that watch how they are read, operations for them, and a consumer."""

from __future__ import annotations

import functools
import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import Gauge, statuses
from observing import PATIENCE, stays

from paceline import Outcome


def most_ahead() -> int:
    """How many quick closures a stream reads ahead, in all, as its documentation says."""
    return min(1024, gc.get_threshold()[0] * 9 // 20)


class Source:
    """An input that watches how it is read: never too far ahead, always on one thread."""

    def __init__(self, operations: Iterator[Callable[[], Any]], bound: int | None = None) -> None:
        self._operations = operations
        self._bound = bound
        self.read = 0
        self.handed_over = 0
        self.furthest = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[Callable[[], Any]]:
        return self

    def __next__(self) -> Callable[[], Any]:
        operation = next(self._operations)
        self.read += 1
        self.threads.add(threading.get_ident())
        self.furthest = max(self.furthest, self.read - self.handed_over)
        if self._bound is not None:
            assert self.read - self.handed_over <= self._bound
        return operation


def numbers(count: int | None = None) -> Iterator[Callable[[], int]]:
    """Operations that return 0, 1, 2, ..."""
    counted = itertools.count() if count is None else range(count)
    return (functools.partial(int, n) for n in counted)


def naps(seconds: float, count: int | None = None) -> Iterator[Callable[[], None]]:
    """Operations that sleep."""
    counted = itertools.count() if count is None else range(count)
    return (functools.partial(time.sleep, seconds) for _ in counted)


class Running:
    """Operations that count their starts and last until they are released."""

    def __init__(self) -> None:
        self.gauge = Gauge()
        self.release = threading.Event()
        self.ended = threading.Semaphore(0)

    def quick(self) -> None:
        with self.gauge.running():
            pass

    def slow(self) -> None:
        with self.gauge.running():
            self.release.wait(PATIENCE)
        self.ended.release()

    def operations(self) -> Iterator[Callable[[], None]]:
        """One that ends at once, then those that last, for ever."""
        yield self.quick
        while True:
            yield self.slow

    def assert_nothing_more_starts(self) -> None:
        assert stays(lambda: self.gauge.entered)


def assert_nothing_is_lost(handed_over: list[Outcome[Any]], report: Any, read: int) -> None:
    """What was handed over and what the report holds are the operations read, each once."""
    indices = [outcome.index for outcome in handed_over] + [outcome.index for outcome in report]
    assert sorted(indices) == list(range(read))
    assert sum(report.counts.values()) == read
    for status, count in report.counts.items():
        assert count == statuses([*handed_over, *report]).count(status), status


def consume(outcomes: Iterator[Outcome[Any]]) -> tuple[list[Outcome[Any]], BaseException]:
    handed_over: list[Outcome[Any]] = []
    try:
        for outcome in outcomes:
            handed_over.append(outcome)
    except BaseException as error:
        return handed_over, error
    pytest.fail("the stream ended well")
