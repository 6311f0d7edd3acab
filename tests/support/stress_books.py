"""What a stress run counts: its books, and the operations and the limiter that keep count."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable


class Books:
    """What the whole run counts, and what was wrong."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def add(self, what: str, count: int = 1) -> None:
        with self._lock:
            self.counts[what] += count

    def check(self, holds: object, message: str) -> None:
        if not holds:
            with self._lock:
                self.wrong.append(message)


class CountingLimiter:
    """A foreign limiter that counts what it grants and now and then takes its time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.granted = 0

    def acquire(self) -> bool:
        with self._lock:
            self.granted += 1
            slow = self.granted % 50 == 0
        if slow:
            time.sleep(0.001)
        return True


class Deliberate(Exception):
    """What an operation raises because it was told to."""


class Flaky(Exception):
    """What an operation raises that is to be tried again."""


class Operation:
    """One operation, with a count of its own starts, which is done at the last of its `tries`."""

    def __init__(self, behaviour: Callable[[], object] | None, name: int, tries: int) -> None:
        self._behaviour = behaviour
        self._lock = threading.Lock()
        self.name = name
        self.tries = tries
        self.starts = 0

    def __call__(self) -> int:
        with self._lock:
            self.starts += 1
            last = self.starts >= self.tries
        if not last:
            raise Flaky
        if self._behaviour is not None:
            self._behaviour()
        return self.name


def fail() -> None:
    raise Deliberate


def leave() -> None:
    raise SystemExit(9)
