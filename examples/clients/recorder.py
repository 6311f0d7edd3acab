"""Counts the time that clients would sleep, instead of sleeping it."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from .server import CLIENT_PATIENCE

MOST_SLEEPS = 300


class NoEndError(BaseException):
    """The client would go on for ever. Not an `Exception`, which it might catch."""


class Recorder:
    """Takes the place of `time.sleep` and `asyncio.sleep`, and turns the clocks forward.

    Attributes:
        slept: The seconds of each sleep.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._ahead = 0.0
        self._patience: float | None = None

    def reset(self, *, impatient: bool) -> None:
        """Forget what was slept so far; shorten the clients' timeouts if they are to be seen."""
        self.slept = []
        self._patience = CLIENT_PATIENCE if impatient else None

    def install(self) -> None:
        """Replace them, before the libraries are imported."""
        # By the clocks' own names: libraries compare them with each other.
        for name in ("time", "monotonic", "perf_counter"):
            self._replace_clock(name)
        sleep_now = asyncio.sleep

        async def sleep(delay: float, result: Any = None) -> Any:
            self._count(delay)
            await sleep_now(0)
            return result

        time.sleep = self._count
        asyncio.sleep = sleep
        self._shorten_timeouts()

    def _count(self, delay: float) -> None:
        seconds = float(delay)
        self.slept.append(seconds)
        self._ahead += max(0.0, seconds)
        if len(self.slept) > MOST_SLEEPS:
            raise NoEndError

    def _replace_clock(self, name: str) -> None:
        clock, nanoseconds = getattr(time, name), getattr(time, f"{name}_ns")
        setattr(time, name, lambda: clock() + self._ahead)
        setattr(time, f"{name}_ns", lambda: nanoseconds() + int(self._ahead * 1e9))

    def _shorten_timeouts(self) -> None:
        set_timeout = socket.socket.settimeout
        connect = socket.socket.connect

        def shorter(own: socket.socket, seconds: float | None) -> None:
            if self._patience is not None and seconds != 0:
                seconds = self._patience if seconds is None else min(seconds, self._patience)
            set_timeout(own, seconds)

        def connected(own: socket.socket, address: Any) -> None:
            connect(own, address)
            # A client that sets no timeout would wait for ever.
            if self._patience is not None and own.gettimeout() is None:
                set_timeout(own, self._patience)

        socket.socket.settimeout = shorter  # type: ignore[method-assign]
        socket.socket.connect = connected  # type: ignore[method-assign]
