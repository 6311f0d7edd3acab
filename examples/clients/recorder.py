"""Counts the time that clients would sleep, instead of sleeping it."""

from __future__ import annotations

import asyncio
import datetime as dt
import selectors
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
        self._hasten_loops()

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

    def _hasten_loops(self) -> None:
        select = selectors.DefaultSelector.select

        def shorter(own: selectors.BaseSelector, timeout: float | None = None) -> Any:
            if self._patience is None or timeout is None or timeout <= self._patience:
                return select(own, timeout)
            ready = select(own, self._patience)
            if not ready:
                # To an event loop it is as if it had waited until then.
                self._ahead += timeout - self._patience
            return ready

        selectors.DefaultSelector.select = shorter  # type: ignore[method-assign]


class _Turned(type):
    """Takes what the interpreter itself has made for one of the class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _DATETIME)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _DATETIME)


_DATETIME = dt.datetime


def turn_datetime() -> None:
    """Let `datetime` go by the clock that is turned, for a client that asks it for the time."""

    class Datetime(_DATETIME, metaclass=_Turned):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return _DATETIME.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(dt.UTC).replace(tzinfo=None)

    if dt.datetime is _DATETIME:
        dt.datetime = Datetime  # type: ignore[misc]
