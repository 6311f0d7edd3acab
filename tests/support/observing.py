"""Looking at what other threads do, and holding them up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds after which a test that waits for another thread gives up."""


def stays(value: Callable[[], object], *, seconds: float = 0.2) -> bool:
    """Whether `value()` is the same at each look during `seconds`."""
    first = value()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)
        if value() != first:
            return False
    return True


def worker_threads(prefix: str) -> list[threading.Thread]:
    """The living threads whose names begin with `prefix`."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]


class GatedLimiter:
    """A foreign limiter that blocks every `acquire()` until `gate` is set, and counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.gate = threading.Event()
        self.asked = 0
        self.granted = 0

    def acquire(self) -> None:
        with self._lock:
            self.asked += 1
        self.gate.wait()
        with self._lock:
            self.granted += 1


class Blocker:
    """An operation that tells when it has started and ends when it is released."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.release.wait(PATIENCE)
        return "released"
