"""Waiting for permits in an event loop of asyncio, in one line with threads and other loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from weakref import WeakKeyDictionary, ref

from paceline._core import Inbox, Place, RateLimiter

__all__ = ["acquire", "enter", "leave", "waiting_in"]

# Where a loop cannot be woken by a socket, it looks every so many seconds.
_LOOK_EVERY = 0.005


class _Waiting:
    """Who waits in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.inbox = Inbox()
        self._numbers = count(1)
        self._called: dict[int, tuple[Callable[..., object], tuple[object, ...]]] = {}
        try:
            loop.add_reader(self.inbox.fileno(), self.wake)
        except (NotImplementedError, ValueError):  # the loop of Windows that is the default there
            self.poll(loop)

    def poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake them, again and again."""
        self.wake()
        loop.call_later(_LOOK_EVERY, self.poll, loop)

    def wake(self) -> None:
        """Have those look whose turn may have come."""
        for number in self.inbox.empty():
            if (called := self._called.get(number)) is not None:
                function, arguments = called
                function(*arguments)

    def next_number(self) -> int:
        """Return a number that nobody has."""
        return next(self._numbers)

    def call(self, number: int, function: Callable[..., object], *arguments: object) -> None:
        """Have a function called whenever the number comes into the inbox."""
        self._called[number] = function, arguments

    def forget(self, number: int) -> None:
        """Have nothing called any more."""
        self._called.pop(number, None)


# A loop holds what waits in it, until it is closed; here nothing is held.
_WAITING: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Waiting]] = WeakKeyDictionary()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "acquire_async() waits in an event loop of asyncio, and none is running here: "
            "elsewhere call acquire() in a thread"
        ) from None


def waiting_in(loop: asyncio.AbstractEventLoop) -> _Waiting:
    """Return what wakes those who wait in a loop."""
    known = _WAITING.get(loop)
    waiting = None if known is None else known()
    if waiting is None:
        waiting = _Waiting(loop)
        _WAITING[loop] = ref(waiting)
    return waiting


async def acquire(
    limiter: RateLimiter, weight: int = 1, timeout: float | timedelta | None = None
) -> bool:
    """Wait for permits in the running loop, and take them.

    A task that is cancelled leaves the line, and takes nothing.
    """
    loop = _running_loop()
    if timeout is None and Place.try_take(limiter, weight):
        return True
    waiting = waiting_in(loop)
    number = waiting.next_number()
    place = Place.stand(limiter, weight, timeout, waiting.inbox, number)
    if isinstance(place, bool):
        return place
    try:
        while True:
            # Before it looks: a letter may come at any moment after that.
            future = loop.create_future()
            waiting.call(number, _wake, future)
            had = place.look()
            if had is not None:
                return had
            await future
    finally:
        waiting.forget(number)
        place.leave()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def enter(limiter: RateLimiter) -> None:
    """Wait for one permit: what ``async with limiter`` does."""
    await acquire(limiter)


async def leave() -> None:
    """Nothing is given back: a permit is spent."""
